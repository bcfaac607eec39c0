"""Keeps predictions and votes. Every call that writes is on disk when it returns."""

import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import delete, exists, inspect, select
from sqlalchemy.orm import Session

from serving.feedback.selection import ExportSettings, Selection, read_selection
from serving.feedback.votes import Subject, check_label, find_subject
from serving.records.database import Database, insert
from serving.records.tables import Base, FeedbackRow, PredictionRow, ReviewRow, ShadowPredictionRow

#: Old predictions go in transactions of this many, for SQLite has one writer at a time.
_DELETE_AT_ONCE = 2000


@dataclasses.dataclass(frozen=True)
class Vote:
    """A vote that is on disk.

    Attributes:
        id: ``FeedbackRow.id``; the same for a repeated vote.
        label: as it was kept.
        known: whether the label is in the vocabulary; others are kept aside for a review.
        created: false when this voter had voted on the same before.
        changed: whether that earlier vote was another label.
        prediction_id: the prediction it names; None for a vote on a text.
        text_identity: 64 hex digits.
    """

    id: int
    label: str
    known: bool
    created: bool
    changed: bool
    prediction_id: str | None
    text_identity: str


@dataclasses.dataclass(frozen=True)
class LabelledAnswer:
    """One answer of which the true label is known.

    Attributes:
        predicted_label: the answer.
        label: the true label: the review's, else the one that all voters agree on.
        model_version: who answered; None when it was not recorded.
        created: when the first vote came, in seconds since 1970.
    """

    predicted_label: str
    label: str
    model_version: int | None
    created: float


class FeedbackStore:
    """Predictions and votes; threads may share it.

    Args:
        database: where they are kept.
        clock: seconds since 1970.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def record_predictions(
        self, rows: Sequence[PredictionRow], shadows: Sequence[ShadowPredictionRow] = ()
    ) -> None:
        """Keep answers, in one transaction; what is there already stays as it is.

        A text that PostgreSQL cannot hold, for its NUL characters, is not kept.

        Raises:
            SQLAlchemyError: the database failed; nothing was written.
        """
        with self._database.begin() as session:
            for table, values in (
                (PredictionRow, [_without_nul(_values(row)) for row in rows]),
                (ShadowPredictionRow, [_values(row) for row in shadows]),
            ):
                if values:
                    statement = insert(session, table).on_conflict_do_nothing()
                    session.connection().execute(statement, values)

    def add_vote(
        self,
        *,
        key_id: str,
        label: str,
        labels: Collection[str] = (),
        prediction_id: str | None = None,
        text: str | None = None,
    ) -> Vote:
        """Keep a vote. The same voter's vote on the same target replaces an earlier one.

        Args:
            key_id: the voter.
            label: what the voter says is true.
            labels: the vocabulary; empty when it is not known, and then every label counts.
            prediction_id: of the prediction, or of a request that had one text.
            text: instead, or besides when texts of requests are not kept.

        Returns:
            The vote, on disk.

        Raises:
            FeedbackError: the vote cannot be kept; nothing was written.
            SQLAlchemyError: the database failed; nothing was written.
        """
        label = check_label(label, labels)
        known = not labels or label in labels
        with self._database.begin() as session:
            subject = find_subject(session, prediction_id, text)
            values = self._new_vote(key_id, label, known, subject)
            created = _insert_vote(session, values)
            if created is not None:
                return _vote(values, created, created=True, changed=False)
            earlier = session.scalars(
                select(FeedbackRow)
                .where(FeedbackRow.key_id == key_id, FeedbackRow.target == subject.target)
                .with_for_update()
            ).one()
            changed = earlier.label != label
            if changed:
                earlier.label, earlier.known, earlier.updated = label, known, values["updated"]
            return _vote(values, earlier.id, created=False, changed=changed)

    def _new_vote(self, key_id: str, label: str, known: bool, subject: Subject) -> dict[str, Any]:
        now = self._clock()
        return {
            **dataclasses.asdict(subject),
            "key_id": key_id,
            "label": label,
            "known": known,
            "created": now,
            "updated": now,
        }

    def delete_old(self, before: float) -> int:
        """Delete predictions that nobody voted on, and what the candidate said of them.

        Args:
            before: those older go; seconds since 1970.

        Returns:
            How many.
        """
        old = (
            select(PredictionRow.id)
            .where(PredictionRow.created < before)
            .where(~exists().where(FeedbackRow.prediction_id == PredictionRow.id))
            .order_by(PredictionRow.created)
            .limit(_DELETE_AT_ONCE)
        )
        deleted = 0
        while True:
            with self._database.begin() as session:
                ids = session.scalars(old).all()
                session.execute(delete(PredictionRow).where(PredictionRow.id.in_(ids)))
            deleted += len(ids)
            if len(ids) < _DELETE_AT_ONCE:
                return deleted

    def usable_examples(
        self,
        settings: ExportSettings | None = None,
        *,
        held_out: Collection[str] = (),
        labels: Collection[str] = (),
    ) -> Selection:
        """What `bert feedback export` would write now, and what it would leave out and why."""
        with self._database.read() as session:
            return read_selection(session, settings or ExportSettings(), held_out, labels)

    def feedback_outcomes(self, since: float) -> list[LabelledAnswer]:
        """Answers of which the true label is known, the oldest vote first; each answer once.

        Answers whose voters disagree without a review, and discarded texts, are left out.

        Args:
            since: votes from then on; seconds since 1970.
        """
        query = (
            select(FeedbackRow, ReviewRow)
            .outerjoin(ReviewRow, ReviewRow.text_identity == FeedbackRow.text_identity)
            .where(FeedbackRow.prediction_id.is_not(None), FeedbackRow.predicted_label.is_not(None))
            .order_by(FeedbackRow.created, FeedbackRow.id)
        )
        # Votes before ``since`` are read too: one of them may disagree with a later one.
        recent = select(FeedbackRow.prediction_id).where(FeedbackRow.created >= since)
        by_prediction: dict[str | None, list[tuple[FeedbackRow, ReviewRow | None]]] = {}
        with self._database.read() as session:
            for vote, review in session.execute(query.where(FeedbackRow.prediction_id.in_(recent))):
                by_prediction.setdefault(vote.prediction_id, []).append((vote, review))
        return list(_outcomes(by_prediction))


def _outcomes(
    by_prediction: dict[str | None, list[tuple[FeedbackRow, ReviewRow | None]]],
) -> Iterator[LabelledAnswer]:
    for votes in by_prediction.values():
        first, review = votes[0]
        labels = {review.label} if review else {vote.label for vote, _ in votes}
        label = labels.pop()
        if labels or label is None or first.predicted_label is None:
            continue
        yield LabelledAnswer(first.predicted_label, label, first.model_version, first.created)


def _insert_vote(session: Session, values: dict[str, Any]) -> int | None:
    """The new vote's id; None when the voter has voted on the same before."""
    statement = insert(session, FeedbackRow).values(values)
    statement = statement.on_conflict_do_nothing(index_elements=["key_id", "target"])
    return session.connection().execute(statement.returning(FeedbackRow.id)).scalar()


def _vote(values: dict[str, Any], vote_id: int, *, created: bool, changed: bool) -> Vote:
    return Vote(
        id=vote_id,
        label=values["label"],
        known=values["known"],
        created=created,
        changed=changed,
        prediction_id=values["prediction_id"],
        text_identity=values["text_identity"],
    )


def _values(row: Base) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in inspect(type(row)).column_attrs}


def _without_nul(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"text": None} if "\x00" in (values["text"] or "") else values
