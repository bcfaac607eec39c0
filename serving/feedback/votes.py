"""What a vote is about, and whether its text and label can be kept. No database is written."""

import dataclasses
import unicodedata
from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from modules.contract.text_identity import normalise, text_identity
from serving.feedback.errors import (
    InvalidLabelError,
    InvalidTextError,
    TextMismatchError,
    TextNotKeptError,
    UnknownPredictionError,
)
from serving.records.tables import PredictionRow

MAX_LABEL_CHARACTERS = 200


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a vote is about.

    Attributes:
        target: the prediction's id, or ``text:<text_identity>``.
        text: what is voted on.
        text_identity: 64 hex digits.
        prediction_id: when a prediction is named.
        predicted_label: the answer, when known.
        model_version: who gave it, when known.
    """

    target: str
    text: str
    text_identity: str
    prediction_id: str | None = None
    predicted_label: str | None = None
    model_version: int | None = None


def identity_of(text: str) -> str:
    """``modules.contract.text_identity`` as 64 hex digits.

    Raises:
        InvalidTextError: the text is blank, or holds what a database cannot keep.
    """
    if not normalise(text):
        raise InvalidTextError("the text is blank; send the text that the label belongs to")
    if "\x00" in text:
        raise InvalidTextError("the text holds a NUL character, which cannot be kept; remove it")
    try:
        return text_identity(text).hex()
    except UnicodeEncodeError as error:
        raise InvalidTextError("the text holds lone surrogates; send valid Unicode") from error


def check_label(label: str, labels: Collection[str]) -> str:
    """The label as it is kept: spaces around it are dropped unless the vocabulary has them.

    Raises:
        InvalidLabelError: no vocabulary can hold the label.
    """
    if label in labels:
        return label
    label = label.strip()
    if not label:
        raise InvalidLabelError(f"the label is blank; legal is {_some(labels)}")
    if len(label) > MAX_LABEL_CHARACTERS:
        raise InvalidLabelError(
            f"the label has {len(label)} characters; legal are {MAX_LABEL_CHARACTERS}"
        )
    # Control characters and lone surrogates: a vocabulary is a file of one label a line.
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in label):
        raise InvalidLabelError("the label holds a line break or another control character")
    return label


def find_subject(session: Session, prediction_id: str | None, text: str | None) -> Subject:
    """What the vote is about.

    Args:
        session: where predictions are looked up.
        prediction_id: of a prediction, or of a request that had one text.
        text: the text itself; needed when no prediction is named or its text was not kept.

    Raises:
        FeedbackError: nothing, or what is named cannot be voted on.
    """
    identity = None if text is None else identity_of(text)
    if prediction_id is not None:
        return _predicted(_find_prediction(session, prediction_id), text, identity)
    if text is None or identity is None:
        raise InvalidTextError("the vote names neither a prediction nor a text; send one of them")
    return Subject(f"text:{identity}", text, identity)


def _predicted(prediction: PredictionRow, text: str | None, identity: str | None) -> Subject:
    if identity is not None and identity != prediction.text_identity:
        raise TextMismatchError(
            f"the text is not that of prediction {prediction.id}; leave one of them out"
        )
    text = prediction.text if prediction.text is not None else text
    if text is None:
        raise TextNotKeptError(
            f"the text of prediction {prediction.id} was not kept; send the text with the label"
        )
    identity_of(text)  # a blank text was answered, but teaches nothing
    return Subject(
        target=prediction.id,
        text=text,
        text_identity=prediction.text_identity,
        prediction_id=prediction.id,
        predicted_label=prediction.label,
        model_version=prediction.model_version,
    )


def _find_prediction(session: Session, prediction_id: str) -> PredictionRow:
    shown = prediction_id[:80]
    if "\x00" in prediction_id or not prediction_id.isascii():
        raise UnknownPredictionError(f"there is no prediction {shown!r}")
    if found := session.get(PredictionRow, prediction_id):
        return found
    of_request = session.scalars(
        select(PredictionRow)
        .where(PredictionRow.request_id == prediction_id)
        .order_by(PredictionRow.position)
        .limit(2)
    ).all()
    if not of_request:
        raise UnknownPredictionError(f"there is no prediction {shown!r}, or it was deleted by now")
    if len(of_request) > 1:
        raise UnknownPredictionError(
            f"request {shown!r} had several texts; name one of them, as {of_request[0].id!r}"
        )
    return of_request[0]


def _some(labels: Collection[str]) -> str:
    shown = ", ".join(sorted(labels)[:10])
    return f"one of {shown}" if shown else f"1 to {MAX_LABEL_CHARACTERS} characters"
