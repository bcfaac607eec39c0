"""Merging of feedback with examples of the same text. Standard library only.

The newest span that contains a text decides its label: feedback is reviewed or agreed on, and newer
than the data. In the test split, by contrast, the oldest label stays: users of a model must not be
able to change the labels that it is evaluated on.

Feedback never changes the number of rows of the base data. A corrected row keeps its text and
slices and takes the label of the feedback; the feedback row is not added. Copies of a text in the
base data, even with contradictory labels, stay unchanged unless feedback contains the text.
"""

import collections
import enum
import itertools
from collections.abc import Callable, Iterable, Iterator

#: (identity of the text, span or 0 for base data, label, serialised tf.Example)
SpannedExample = tuple[bytes, int, str, bytes]


class RowOutcome(enum.StrEnum):
    """Outcome of merging one row of feedback."""

    ADDED = "added"
    REPEATED = "repeated"
    RELABELLED = "relabelled"
    SUPERSEDED = "superseded"
    HELD_OUT = "held_out"


#: Each outcome in words, for reports.
MEANINGS = {
    RowOutcome.ADDED: "added",
    RowOutcome.REPEATED: "already present",
    RowOutcome.RELABELLED: "corrected the data",
    RowOutcome.SUPERSEDED: "replaced by newer feedback",
    RowOutcome.HELD_OUT: "not applied to the test split",
}


def resolve(
    examples: Iterable[SpannedExample],
    *,
    held_out: bool,
    relabel: Callable[[bytes, str], bytes],
) -> tuple[list[SpannedExample], collections.Counter[str]]:
    """Merge feedback into the examples of the same text.

    Args:
        examples: all examples of each text, in any order.
        held_out: whether the examples belong to the test split.
        relabel: takes a serialised example and a label, returns the example with that label.

    Returns:
        The examples that remain, sorted by identity, label and bytes; and the number of rows of
        feedback for each ``RowOutcome``.
    """
    kept: list[SpannedExample] = []
    outcomes: collections.Counter[str] = collections.Counter()
    for _, group in itertools.groupby(sorted(examples), key=lambda example: example[0]):
        copies = list(group)
        if copies[-1][1]:  # sorted by span, so this group contains feedback
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
