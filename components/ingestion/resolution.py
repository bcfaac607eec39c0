"""What becomes of feedback on a text that is there already. Standard library only.

The newest span that names a text decides its label: feedback is reviewed or agreed on, and later
than the data. In the test split it is the other way round, the label known first stays: truth that
models are held to must not be changed by those who use them.

Rows of the base data stay in number. One that is corrected keeps its text and its slices, and takes
the label of the feedback; the feedback row adds nothing more. Copies within the base data, also
contradictory ones, stay as they are unless feedback names their text.
"""

import collections
import enum
import itertools
from collections.abc import Callable, Iterable, Iterator

#: (identity of the text, span or 0 for base data, label, serialised tf.Example)
SpannedExample = tuple[bytes, int, str, bytes]


class RowOutcome(enum.StrEnum):
    """What became of a row of feedback."""

    ADDED = "added"
    REPEATED = "repeated"
    RELABELLED = "relabelled"
    SUPERSEDED = "superseded"
    HELD_OUT = "held_out"


#: What each outcome means, for people.
MEANINGS = {
    RowOutcome.ADDED: "added",
    RowOutcome.REPEATED: "there already",
    RowOutcome.RELABELLED: "corrected the data",
    RowOutcome.SUPERSEDED: "overruled by newer feedback",
    RowOutcome.HELD_OUT: "not applied to the test split",
}


def resolve(
    examples: Iterable[SpannedExample],
    *,
    held_out: bool,
    relabel: Callable[[bytes, str], bytes],
) -> tuple[list[SpannedExample], collections.Counter[str]]:
    """Apply the rule to all examples of some texts.

    Args:
        examples: all examples of each text, in any order.
        held_out: they are of the test split.
        relabel: returns a serialised example with another label.

    Returns:
        What stays, ordered by identity, label and bytes; and how many rows of feedback met with
        each ``RowOutcome``.
    """
    kept: list[SpannedExample] = []
    outcomes: collections.Counter[str] = collections.Counter()
    for _, group in itertools.groupby(sorted(examples), key=lambda example: example[0]):
        copies = list(group)
        if copies[-1][1]:  # sorted by span, hence feedback is among them
            copies = list(_resolve_text(copies, held_out, relabel, outcomes))
            copies.sort(key=lambda example: example[2:])
        kept.extend(copies)
    return kept, outcomes


def _resolve_text(
    copies: list[SpannedExample],
    held_out: bool,
    relabel: Callable[[bytes, str], bytes],
    outcomes: collections.Counter[str],
) -> Iterator[SpannedExample]:
    base = [copy for copy in copies if not copy[1]]
    feedback = [copy for copy in copies if copy[1]]
    labels = {label for _, _, label, _ in base}
    if base and held_out:
        yield from base
        for _, _, label, _ in feedback:
            outcomes[RowOutcome.REPEATED if label in labels else RowOutcome.HELD_OUT] += 1
        return
    span = feedback[0][1] if held_out else feedback[-1][1]
    decisive = next(copy for copy in feedback if copy[1] == span)
    wanted = decisive[2]
    feedback.remove(decisive)
    if not base:
        outcomes[RowOutcome.ADDED] += 1
        yield decisive
    elif labels == {wanted}:
        outcomes[RowOutcome.REPEATED] += 1
        yield from base
    else:
        outcomes[RowOutcome.RELABELLED] += 1
        for identity, origin, label, serialised in base:
            changed = serialised if label == wanted else relabel(serialised, wanted)
            yield identity, origin, wanted, changed
    other = RowOutcome.HELD_OUT if held_out else RowOutcome.SUPERSEDED
    for _, _, label, _ in feedback:
        outcomes[RowOutcome.REPEATED if label == wanted else other] += 1
