"""Stores predictions and votes. Writes are on disk when a call returns."""

import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from serving.feedback.selection import ExportSettings, Selection, read_selection
from serving.feedback.votes import Subject, check_label, find_subject
from serving.records.database import Database, insert
from serving.records.tables import FeedbackRow, PredictionRow, ReviewRow, ShadowPredictionRow

#: Old predictions deleted in one transaction, because SQLite has one writer at a time.
_DELETE_AT_ONCE = 2000


@dataclasses.dataclass(frozen=True)
class Vote:
    """A stored vote.

    Attributes:
        id: ``FeedbackRow.id``; the same for a repeated vote.
        label: the label as stored.
        known: whether the label is in the vocabulary; others are set aside for a review.
        created: False if the voter had already voted on the same target.
        changed: whether that earlier vote had another label.
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
    """A prediction whose true label is known.

    Attributes:
        predicted_label: the prediction.
        label: the true label: the review's, else the one that all voters agree on.
        model_version: the version that answered; None if it was not recorded.
        created: time of the first vote, in seconds since 1970.
    """

    predicted_label: str
    label: str
    model_version: int | None
    created: float


class FeedbackStore:
    """Predictions and votes; threads may share it.

    Args:
        database: stores them.
        clock: returns seconds since 1970.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def record_predictions(
        self, rows: Sequence[PredictionRow], shadows: Sequence[ShadowPredictionRow] = ()
    ) -> None:
        """Store predictions in one transaction; existing ones stay unchanged.

        Texts with NUL characters, which PostgreSQL cannot store, are dropped.

        Raises:
            SQLAlchemyError: the database failed; nothing was written.
        """
        with self._database.begin() as session:
            for table, values in (
                (PredictionRow, [_without_nul(row.columns()) for row in rows]),
                (ShadowPredictionRow, [row.columns() for row in shadows]),
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
        """Store a vote; it replaces the voter's earlier vote on the same target.

        Args:
            key_id: the voter.
            label: the true label, according to the voter.
            labels: the vocabulary; if empty, every label counts as known.
            prediction_id: id of a prediction, or of a request with a single text.
            text: the text, instead of an id; or with it if texts of requests are not stored.

        Returns:
            The stored vote.

        Raises:
            FeedbackError: the vote cannot be stored; nothing was written.
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
        """Delete predictions without votes, with the candidate's predictions for the same texts.

        Args:
            before: delete older predictions; seconds since 1970.

        Returns:
            The number of deleted predictions.
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
        """Return what `bert feedback export` would write now, and what it would leave out."""
        with self._database.read() as session:
            return read_selection(session, settings or ExportSettings(), held_out, labels)

    def feedback_outcomes(self, since: float) -> list[LabelledAnswer]:
        """Return predictions whose true label is known, once each, by their first vote.

        Predictions whose voters disagree without a review, and discarded texts, are left out.

        Args:
            since: consider predictions with a vote from then on; seconds since 1970.
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
    """Return the new vote's id; None if the voter has already voted on the target."""
    statement = insert(session, FeedbackRow).values(values)
    statement = statement.on_conflict_do_nothing(index_elements=["key_id", "target"])
    return session.connection().execute(statement.returning(FeedbackRow.id)).scalar()


def _vote(values: dict[str, Any], vote_id: int, *, created: bool, changed: bool) -> Vote:
    stored = {name: values[name] for name in ("label", "known", "prediction_id", "text_identity")}
    return Vote(id=vote_id, created=created, changed=changed, **stored)


def _without_nul(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"text": None} if "\x00" in (values["text"] or "") else values
