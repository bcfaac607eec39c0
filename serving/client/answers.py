"""What a text classifier answers, and the names of its scores.

TensorFlow Serving's protocol has no place for the list of labels: an answer holds the ``label``
that won, its ``score``, and ``scores`` in the order of the label ids, without names. So the names
come from the caller: the list itself, or the folder that the pipeline pushed, whose
``assets.extra/labels.txt`` holds them. They are used only where they agree with the answer: as many
as there are scores, and the highest score's name is the label that the server said. A list of
another model thus names nothing, rather than something wrong.
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
    """The answer to one text.

    Attributes:
        label: the most likely label.
        score: its probability.
        scores: label -> probability, in label id order; empty where the names are not known.
        raw_scores: all probabilities in label id order.
    """

    label: str
    score: float
    scores: dict[str, float]
    raw_scores: tuple[float, ...]


def read_labels(folder: str | os.PathLike[str]) -> list[str]:
    """The labels of a pushed model in id order.

    Args:
        folder: of one version, or of all: then those of the newest complete version are read.

    Raises:
        UserError: there is no label list.
    """
    base = Path(folder)
    newest_first = reversed(pushed_model.complete_versions(base).values())
    for candidate in (base, *newest_first):
        if (candidate / pushed_model.LABELS_FILE).is_file():
            return pushed_model.read_labels(candidate)
    raise UserError(
        f"{base} holds no {pushed_model.LABELS_FILE}, and no complete version folder that does; "
        "name the folder that the pipeline pushed to, or give the list of labels"
    )


def make_predictions(
    outputs: Mapping[str, Any], count: int, labels: Sequence[str], server: str
) -> Iterator[Prediction]:
    """The predictions in a classifier's outputs.

    Args:
        outputs: ``label`` [count] of str or UTF-8 bytes, ``score`` [count], ``scores``
            [count, classes]; lists or arrays.
        count: texts that were asked about.
        labels: names of the classes; empty when not known.
        server: named in the error.

    Raises:
        UnexpectedAnswerError: the model is no text classifier of this kind.
    """
    missing = [name for name in _OUTPUTS if name not in outputs]
    if missing:
        got = ", ".join(sorted(outputs)) or "nothing"
        raise UnexpectedAnswerError(
            f"the model at {server} answers with {got}; predict needs label, score and scores; "
            "predict_tensors takes any model"
        )
    names, best, rows = (outputs[name] for name in _OUTPUTS)
    if not len(names) == len(best) == len(rows) == count:
        raise UnexpectedAnswerError(f"{server} gave {len(names)} answers to {count} texts")
    for name, score, row in zip(names, best, rows, strict=True):
        label = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        raw_scores = tuple(map(float, row))
        scores = dict(zip(labels, raw_scores, strict=True)) if _fits(labels, label, row) else {}
        yield Prediction(label, float(score), scores, raw_scores)


def _fits(labels: Sequence[str], label: str, row: Sequence[float]) -> bool:
    """Whether the names agree with the answer."""
    if len(labels) != len(row):
        return False
    return label in labels and row[labels.index(label)] == np.max(row)
