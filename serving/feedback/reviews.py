"""Reviews: labels that override the votes on a text."""

import dataclasses
import re
import time
from collections.abc import Collection
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from modules.contract.errors import UserError
from serving.feedback.errors import FeedbackError
from serving.feedback.votes import check_label
from serving.records.database import Database
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
        reviewer: who says so.
        labels: the vocabulary; empty when unknown.
        new_class: accept a label outside the vocabulary.

    Raises:
        UserError: no text, or several; or a label that is not legal.
    """
    if label is not None:
        label = _check(label, labels, new_class)
    values = {"label": label, "reviewer": reviewer, "created": time.time()}
    with database.begin() as session:
        vote = _find(session, reference)
        _upsert(session, {"text_identity": vote.text_identity, **values})
        exported = session.get(SpanTextRow, vote.text_identity)
        return Reviewed(vote.text_identity, vote.text, label, exported.span if exported else None)


def _check(label: str, labels: Collection[str], new_class: bool) -> str:
    try:
        label = check_label(label, labels)
    except FeedbackError as error:
        raise UserError(f"{error}; give another --label") from error
    if labels and label not in labels and not new_class:
        raise UserError(
            f"{label!r} is no label of the model; legal are {', '.join(sorted(labels))}; "
            "give one of them, or add --new-class to teach it this one"
        )
    return label


def _find(session: Session, reference: str) -> FeedbackRow:
    """The first vote on the text that is meant."""
    query = select(FeedbackRow).order_by(FeedbackRow.id)
    if re.fullmatch(rf"[0-9a-f]{{{MIN_DIGITS},64}}", reference):
        votes = session.scalars(query.where(FeedbackRow.text_identity.startswith(reference))).all()
        identities = {vote.text_identity for vote in votes}
        if len(identities) > 1:
            raise UserError(
                f"{len(identities)} texts begin with {reference!r}; give more digits of one of "
                f"{', '.join(sorted(identities)[:3])}"
            )
        if votes:
            return votes[0]
    elif "\x00" not in reference:
        named = session.scalars(query.where(FeedbackRow.prediction_id == reference)).first()
        if named:
            return named
    raise UserError(
        f"no vote is on a text {reference!r}; give {MIN_DIGITS} or more digits of an id that "
        "`bert feedback review` lists, or the id of a prediction"
    )


def _upsert(session: Session, values: dict[str, Any]) -> None:
    postgres = session.get_bind().dialect.name == "postgresql"
    statement: Any = (postgresql.insert if postgres else sqlite.insert)(ReviewRow).values(values)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["text_identity"],
            set_={name: value for name, value in values.items() if name != "text_identity"},
        )
    )
