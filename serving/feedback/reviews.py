"""Reviews: labels that override the votes on a text."""

import dataclasses
import re
import time
from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from serving.feedback.errors import (
    AmbiguousTextError,
    UnknownLabelError,
    UnknownPredictionError,
)
from serving.feedback.votes import check_label
from serving.records.database import Database, insert
from serving.records.tables import FeedbackRow, ReviewRow, SpanTextRow

#: Minimum hex digits of a text identity that name a text.
MIN_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class Reviewed:
    """A stored review.

    Attributes:
        text_identity: 64 hex digits.
        text: the text.
        label: its label from now on; None if it is discarded.
        span: the span that already holds the text, which the review does not change; else None.
    """

    text_identity: str
    text: str
    label: str | None
    span: int | None


def add_review(
    database: Database,
    reference: str,
    label: str | None,
    *,
    reviewer: str,
    labels: Collection[str] = (),
    new_class: bool = False,
) -> Reviewed:
    """Set the label of a text, or discard the text; a later review replaces an earlier one.

    Args:
        database: holds the votes.
        reference: the text identity or its first digits, or the id of a prediction with feedback.
        label: the label; None keeps the text out of the training data.
        reviewer: who reviews.
        labels: the vocabulary; if empty, any label is accepted.
        new_class: accept a label outside the vocabulary.

    Returns:
        The stored review.

    Raises:
        FeedbackError: no text or several match, or the label is not legal; nothing was written.
        SQLAlchemyError: the database failed; nothing was written.
    """
    if label is not None:
        label = check_label(label, labels)
        if labels and label not in labels and not new_class:
            raise UnknownLabelError(
                f"{label!r} is not a label of the model; its labels are {', '.join(sorted(labels))}"
            )
    values = {"label": label, "reviewer": reviewer, "created": time.time()}
    with database.begin() as session:
        vote = _find(session, reference)
        statement = insert(session, ReviewRow).values(text_identity=vote.text_identity, **values)
        session.execute(
            statement.on_conflict_do_update(index_elements=["text_identity"], set_=values)
        )
        exported = session.get(SpanTextRow, vote.text_identity)
        return Reviewed(vote.text_identity, vote.text, label, exported.span if exported else None)


def _find(session: Session, reference: str) -> FeedbackRow:
    """Return the first vote on the text that ``reference`` names."""
    query = select(FeedbackRow).order_by(FeedbackRow.id)
    if re.fullmatch(rf"[0-9a-f]{{{MIN_DIGITS},64}}", reference):
        votes = session.scalars(query.where(FeedbackRow.text_identity.startswith(reference))).all()
        identities = {vote.text_identity for vote in votes}
        if len(identities) > 1:
            raise AmbiguousTextError(
                f"{len(identities)} texts begin with {reference!r}; give more digits of one of "
                f"{', '.join(sorted(identities)[:3])}"
            )
        if votes:
            return votes[0]
    elif "\x00" not in reference:
        named = session.scalars(query.where(FeedbackRow.prediction_id == reference)).first()
        if named:
            return named
    raise UnknownPredictionError(f"there is no feedback on a text {reference!r}")
