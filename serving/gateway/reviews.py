"""Keeps a person's last word on a text."""

import dataclasses
import time

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from serving.feedback.errors import UnknownPredictionError
from serving.feedback.votes import check_label, identity_of
from serving.records import tables
from serving.records.database import Database


@dataclasses.dataclass(frozen=True)
class Review:
    """What a person says.

    Attributes:
        text: which text; None when ``text_identity`` names it.
        text_identity: of the text.
        label: the true label; None keeps the text out of the training data.
    """

    text: str | None
    text_identity: str | None
    label: str | None


def keep(database: Database, review: Review, reviewer: str) -> str:
    """Keep a review; a later one replaces an earlier one.

    Returns:
        The text's identity.

    Raises:
        FeedbackError: nobody voted on the text, or the label cannot be one.
        SQLAlchemyError: the database failed; nothing was written.
    """
    label = None if review.label is None else check_label(review.label, ())
    identity = review.text_identity or identity_of(review.text or "")
    row = {"text_identity": identity, "label": label, "reviewer": reviewer}
    try:
        _write(database, row)
    except IntegrityError:  # two reviewers at once: the later one's word counts
        _write(database, row)
    return identity


def _write(database: Database, row: dict[str, str | None]) -> None:
    votes = select(tables.FeedbackRow.id).where(
        tables.FeedbackRow.text_identity == row["text_identity"]
    )
    with database.begin() as session:
        if session.scalars(votes.limit(1)).first() is None:
            raise UnknownPredictionError("nobody voted on this text; there is nothing to review")
        session.merge(tables.ReviewRow(**row, created=time.time()))
