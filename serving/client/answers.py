"""Predictions of a text classifier, and the names of their scores.

TensorFlow Serving's protocol does not transmit the list of labels: a response holds the most likely
``label``, its ``score``, and ``scores`` in label id order, without names. The caller therefore
provides the names, either as a list or as the folder that the pipeline pushed, which holds them in
``assets.extra/labels.txt``. They are used only if they agree with the response: there are as many
names as scores, and the name of the highest score is the label that the server returned. A list
that belongs to another model is ignored, so no score gets a wrong name.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modules.contract import features, pushed_model
from modules.contract.errors import UserError
from serving.client.errors import UnexpectedAnswerError

_OUTPUTS = (features.PREDICTED_LABEL, features.SCORE, features.SCORES)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction for one text.

    Attributes:
        label: the most likely label.
        score: the probability of ``label``, 0 to 1.
        scores: probability by label, in label id order; empty if the client was given no
            ``labels``, or labels that do not match the response.
        raw_scores: all probabilities, in label id order.
    """

    label: str
    score: float
    scores: dict[str, float]
    raw_scores: tuple[float, ...]


def read_labels(folder: str | os.PathLike[str]) -> list[str]:
    """Read the labels of a pushed model, in label id order.

    Args:
        folder: the folder of one version, or the folder that holds all versions, of which the
            newest complete one is read.

    Raises:
        UserError: the folder contains no label list.
    """
    base = Path(folder)
    newest_first = reversed(pushed_model.complete_versions(base).values())
    for candidate in (base, *newest_first):
        if (candidate / pushed_model.LABELS_FILE).is_file():
            return pushed_model.read_labels(candidate)
    raise UserError(
        f"{base} contains no {pushed_model.LABELS_FILE}, and no complete version folder with one; "
        "give the folder that the pipeline pushed to, or a list of labels"
    )


def make_predictions(
    outputs: Mapping[str, Any], count: int, labels: Sequence[str], server: str
) -> Iterator[Prediction]:
    """Yield the predictions in a classifier's outputs.

    Args:
        outputs: ``label`` [count] of str or UTF-8 bytes, ``score`` [count] and ``scores``
            [count, classes], as lists or arrays.
        count: number of texts in the request.
        labels: names of the classes in label id order; empty if unknown.
        server: URL for error messages.

    Raises:
        UnexpectedAnswerError: the model is not a text classifier with these outputs, or the number
            of predictions is not ``count``.
    """
    missing = [name for name in _OUTPUTS if name not in outputs]
    if missing:
        got = ", ".join(sorted(outputs)) or "nothing"
        raise UnexpectedAnswerError(
            f"the model at {server} returns {got}; predict needs label, score and scores; "
            "use predict_tensors for other models"
        )
    names, best, rows = (outputs[name] for name in _OUTPUTS)
    if not len(names) == len(best) == len(rows) == count:
        raise UnexpectedAnswerError(f"{server} returned {len(names)} predictions for {count} texts")
    for name, score, row in zip(names, best, rows, strict=True):
        label = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        raw_scores = tuple(map(float, row))
        scores = dict(zip(labels, raw_scores, strict=True)) if _fits(labels, label, row) else {}
        yield Prediction(label, float(score), scores, raw_scores)


def _fits(labels: Sequence[str], label: str, row: Sequence[float]) -> bool:
    """Return whether the names agree with the response."""
    if len(labels) != len(row):
        return False
    return label in labels and row[labels.index(label)] == np.max(row)
