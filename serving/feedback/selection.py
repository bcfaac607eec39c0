"""Selects the votes that become examples. Pure: the same votes give the same examples.

1. A review overrides all votes. Without one, at least ``min_votes`` voters must agree on a text,
   and none may disagree. A voter's last vote on a text counts. Callers without a key count as one
   voter, but all their votes must agree, because they may be different people.
2. Texts of the test split, texts that are too long, labels outside the vocabulary, and texts that
   an earlier span holds are left out.
3. No API key contributes more than its share of a span: an example *comes from* a key if that key
   is its only voter and nobody reviewed it. If only one key may vote, nobody can outvote it, and
   there is no cap.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from serving.feedback import reasons
from serving.records.api_keys import ADMIN, FEEDBACK
from serving.records.tables import ANONYMOUS, ApiKeyRow, FeedbackRow, ReviewRow, SpanTextRow


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """Export rules, as in the ``[feedback]`` section.

    Attributes:
        min_votes: voters that must agree on a text without a review.
        max_share_per_key: maximum share of a span from one key, above 0 and up to 1.
        max_examples: maximum examples in a span.
        max_text_bytes: maximum UTF-8 bytes of a text; ingestion would reject longer ones.
    """

    min_votes: int = 1
    max_share_per_key: float = 0.5
    max_examples: int = 100_000
    max_text_bytes: int = 1_000_000


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A text with its votes.

    Attributes:
        text_identity: 64 hex digits.
        text: as the first voter saw it.
        votes: distinct pairs of voter and label, oldest first.
        first_vote: ``FeedbackRow.id`` of the first vote, by which texts are ordered.
        label: the label to train on; None while there is none.
        reviewed: whether a review set the label.
        reason: why it is left out; "" when it is usable.
    """

    text_identity: str
    text: str
    votes: tuple[tuple[str, str], ...]
    first_vote: int
    label: str | None = None
    reviewed: bool = False
    reason: str = ""

    @property
    def source(self) -> str | None:
        """The API key that this example comes from; None without a single one."""
        voters = {voter for voter, _ in self.votes}
        return None if self.reviewed or len(voters) != 1 else next(iter(voters - {ANONYMOUS}), None)


@dataclasses.dataclass(frozen=True)
class Selection:
    """Exported and left-out texts.

    Attributes:
        examples: texts to export, by text identity.
        left_out: the other texts with their ``reason``, by text identity.
        votes: number of votes considered.
    """

    examples: tuple[Candidate, ...]
    left_out: tuple[Candidate, ...]
    votes: int

    def of(self, reason: str) -> tuple[Candidate, ...]:
        """Return the texts left out for a reason."""
        return tuple(candidate for candidate in self.left_out if candidate.reason == reason)

    def counts(self) -> dict[str, int]:
        """Return the texts per reason, and ``votes``, ``texts``, ``exported``, ``reviewed``."""
        left_out = Counter(candidate.reason for candidate in self.left_out)
        return {
            "votes": self.votes,
            "texts": len(self.examples) + len(self.left_out),
            "exported": len(self.examples),
            "reviewed": sum(example.reviewed for example in self.examples),
            **{reason: left_out[reason] for reason in reasons.REASONS},
        }


def read_selection(
    session: Session, settings: ExportSettings, held_out: Collection[str], labels: Collection[str]
) -> Selection:
    """Select from all votes in the database.

    Args:
        session: reads the votes.
        settings: the export rules.
        held_out: text identities of the test split.
        labels: the vocabulary; if empty, ``FeedbackRow.known`` of each vote counts.
    """
    votes = session.scalars(select(FeedbackRow).order_by(FeedbackRow.id)).all()
    reviews = {review.text_identity: review for review in session.scalars(select(ReviewRow))}
    exported = frozenset(session.scalars(select(SpanTextRow.text_identity)))
    if len(_voters(session, votes)) <= 1:
        settings = dataclasses.replace(settings, max_share_per_key=1.0)
    return select_examples(votes, reviews, exported, settings, held_out, labels)


def _voters(session: Session, votes: Iterable[FeedbackRow]) -> set[str]:
    """Return the keys that may vote, and those that did."""
    enabled = session.scalars(select(ApiKeyRow).where(ApiKeyRow.disabled.is_(None)))
    may_vote = {key.id for key in enabled if {FEEDBACK, ADMIN} & set(key.scopes)}
    return (may_vote | {vote.key_id for vote in votes}) - {ANONYMOUS}


def select_examples(
    votes: Sequence[FeedbackRow],
    reviews: Mapping[str, ReviewRow],
    exported: Collection[str],
    settings: ExportSettings,
    held_out: Collection[str] = (),
    labels: Collection[str] = (),
) -> Selection:
    """Select from the given votes, by the rules in the module's docstring."""
    by_text: dict[str, list[FeedbackRow]] = {}
    for vote in votes:
        by_text.setdefault(vote.text_identity, []).append(vote)
    barred = {
        identity: reasons.TOO_LONG
        for identity, group in by_text.items()
        if len(group[0].text.encode("utf-8")) > settings.max_text_bytes
    }
    barred |= {identity: reasons.HELD_OUT for identity in by_text if identity in held_out}
    barred |= {identity: reasons.ALREADY_EXPORTED for identity in by_text if identity in exported}
    judged = [
        _judge(group, reviews.get(identity), settings, labels, barred.get(identity, ""))
        for identity, group in by_text.items()
    ]
    usable = [candidate for candidate in judged if not candidate.reason]
    chosen, rest = _choose(usable, settings)
    left_out = [candidate for candidate in judged if candidate.reason] + rest
    return Selection(_sorted(chosen), _sorted(left_out), len(votes))


def _sorted(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    return tuple(sorted(candidates, key=lambda candidate: candidate.text_identity))


def _judge(
    group: Sequence[FeedbackRow],
    review: ReviewRow | None,
    settings: ExportSettings,
    labels: Collection[str],
    barred: str,
) -> Candidate:
    """Return a text with its label or reason; ``barred`` is a reason that no vote can lift."""
    counted = _last_votes(group)
    votes = tuple(dict.fromkeys((vote.key_id, vote.label) for vote in counted))
    label: str | None = None
    reason = ""
    if review is not None:
        label = review.label
        reason = reasons.DISCARDED if label is None else ""
    elif len({label for _, label in votes}) > 1:
        reason = reasons.CONFLICT
    else:
        label = votes[0][1]
        if not (label in labels if labels else all(vote.known for vote in counted)):
            reason = reasons.NEW_CLASS
        elif len({voter for voter, _ in votes}) < settings.min_votes:
            reason = reasons.TOO_FEW_VOTES
    first = group[0]
    return Candidate(
        text_identity=first.text_identity,
        text=first.text,
        votes=votes,
        first_vote=first.id,
        label=label,
        reviewed=review is not None,
        reason=barred or reason,
    )


def _last_votes(group: Sequence[FeedbackRow]) -> list[FeedbackRow]:
    """Return each key's last vote on a text, and all votes of callers without a key."""
    last: dict[str, FeedbackRow] = {}
    for vote in sorted(group, key=lambda vote: (vote.updated, vote.id)):
        last[vote.key_id] = vote
    return [vote for vote in group if vote.key_id == ANONYMOUS or last[vote.key_id] is vote]


def _choose(
    usable: Sequence[Candidate], settings: ExportSettings
) -> tuple[list[Candidate], list[Candidate]]:
    """Apply the caps: keep reviewed texts first, then the oldest."""
    per_key = Counter(candidate.source for candidate in usable)
    free = per_key.pop(None, 0)
    size = _largest_size(free, list(per_key.values()), settings)
    limit = _limit(size, settings)
    taken: Counter[str | None] = Counter()
    chosen: list[Candidate] = []
    rest: list[Candidate] = []
    for candidate in sorted(usable, key=lambda each: (not each.reviewed, each.first_vote)):
        source = candidate.source
        if source is not None and taken[source] >= limit:
            rest.append(dataclasses.replace(candidate, reason=reasons.OVER_SHARE))
        elif len(chosen) >= size:
            rest.append(dataclasses.replace(candidate, reason=reasons.OVER_MAX))
        else:
            taken[source] += 1
            chosen.append(candidate)
    return chosen, rest


def _limit(size: int, settings: ExportSettings) -> int:
    return math.floor(settings.max_share_per_key * size)


def _largest_size(free: int, per_key: Sequence[int], settings: ExportSettings) -> int:
    """Return the size of the largest span in which no key exceeds its share *of that span*.

    Shrinking one key's part shrinks the span, and so the parts of the others. The feasible size
    grows with the assumed size, so descending from the top stops at the largest.
    """
    size = min(settings.max_examples, free + sum(per_key))
    while True:
        limit = _limit(size, settings)
        feasible = min(size, free + sum(min(count, limit) for count in per_key))
        if feasible == size:
            return size
        size = feasible
