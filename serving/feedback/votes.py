"""Checks of votes: their target, text and label. Reads the database, but does not write to it."""

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
    """The subject of a vote.

    Attributes:
        target: the prediction's id, or ``text:<text_identity>``.
        text: the text voted on.
        text_identity: 64 hex digits.
        prediction_id: the prediction, if the vote names one.
        predicted_label: the predicted label, if known.
        model_version: the version that predicted it, if known.
    """

    target: str
    text: str
    text_identity: str
    prediction_id: str | None = None
    predicted_label: str | None = None
    model_version: int | None = None


def identity_of(text: str) -> str:
    """Return ``modules.contract.text_identity`` as 64 hex digits.

    Raises:
        InvalidTextError: the text is blank, or contains what a database cannot store.
    """
    if not normalise(text):
        raise InvalidTextError("the text is blank; send the text that the label belongs to")
    if "\x00" in text:
        raise InvalidTextError(
            "the text contains a NUL character, which cannot be stored; remove it"
        )
    try:
        return text_identity(text).hex()
    except UnicodeEncodeError as error:
        raise InvalidTextError("the text contains lone surrogates; send valid Unicode") from error


def check_label(label: str, labels: Collection[str]) -> str:
    """Return the label as stored: surrounding spaces are dropped unless the vocabulary has them.

    Raises:
        InvalidLabelError: the label is blank, too long, or contains control characters.
    """
    if label in labels:
        return label
    label = label.strip()
    if not label:
        raise InvalidLabelError(f"the label is blank; send {_some(labels)}")
    if len(label) > MAX_LABEL_CHARACTERS:
        raise InvalidLabelError(
            f"the label has {len(label)} characters; at most {MAX_LABEL_CHARACTERS} are allowed"
        )
    # Control characters and lone surrogates: a vocabulary is a file with one label per line.
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in label):
        raise InvalidLabelError(
            "the label contains a line break or another control character; remove it"
        )
    return label


def find_subject(session: Session, prediction_id: str | None, text: str | None) -> Subject:
    """Return the subject of a vote.

    Args:
        session: reads predictions.
        prediction_id: id of a prediction, or of a request with a single text.
        text: the text; required without a prediction, or if the prediction's text was not stored.

    Raises:
        FeedbackError: the vote names nothing, or nothing that can be voted on.
    """
    identity = None if text is None else identity_of(text)
    if prediction_id is not None:
        return _predicted(_find_prediction(session, prediction_id), text, identity)
    if text is None or identity is None:
        raise InvalidTextError("neither a prediction nor a text is named; send one of them")
    return Subject(f"text:{identity}", text, identity)


def _predicted(prediction: PredictionRow, text: str | None, identity: str | None) -> Subject:
    if identity is not None and identity != prediction.text_identity:
        raise TextMismatchError(
            f"the text is not that of prediction {prediction.id}; send only one of them"
        )
    text = prediction.text if prediction.text is not None else text
    if text is None:
        raise TextNotKeptError(
            f"the text of prediction {prediction.id} was not stored; send the text with the label"
        )
    identity_of(text)  # a blank text can be predicted, but not trained on
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
        raise UnknownPredictionError(f"prediction {shown!r} does not exist")
    if found := session.get(PredictionRow, prediction_id):
        return found
    of_request = session.scalars(
        select(PredictionRow)
        .where(PredictionRow.request_id == prediction_id)
        .order_by(PredictionRow.position)
        .limit(2)
    ).all()
    if not of_request:
        raise UnknownPredictionError(f"prediction {shown!r} does not exist, or was deleted")
    if len(of_request) > 1:
        raise UnknownPredictionError(
            f"request {shown!r} had several texts; send the id of one prediction, "
            f"such as {of_request[0].id!r}"
        )
    return of_request[0]


def _some(labels: Collection[str]) -> str:
    shown = ", ".join(sorted(labels)[:10])
    return f"one of {shown}" if shown else f"1 to {MAX_LABEL_CHARACTERS} characters"
