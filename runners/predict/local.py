"""Predictions from a pushed model in this process.

The model is a plain SavedModel: TensorFlow and tensorflow-text load it, no TFX.
"""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modules.contract import features
from modules.contract.pushed_model import read_labels

#: Texts per call: bounds memory, because a batch is padded to its longest text.
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class TextPrediction:
    """Prediction for one text.

    Attributes:
        text: the text as it was given.
        label: the most likely label.
        score: the label's probability, 0 to 1.
        scores: label -> probability, in label id order; a list if the labels are unknown.
    """

    text: str
    label: str
    score: float
    scores: dict[str, float] | list[float]


class Predictor:
    """A loaded model."""

    def __init__(self, folder: Path) -> None:
        """Load the SavedModel in ``folder``, which takes seconds, mostly to import TensorFlow.

        Raises:
            UserError: the folder is not a model of this project.
        """
        self.labels = read_labels(folder)
        with _quiet():
            import tensorflow as tf
            import tensorflow_text  # noqa: F401  registers the tokenizer's operations

            self._tf = tf
            self._model = tf.saved_model.load(str(folder))
        self._signature = self._model.signatures[features.SERVING_DEFAULT]

    def predict(self, texts: Sequence[str]) -> list[TextPrediction]:
        """Classify texts; return the predictions in the order of the texts."""
        answers: list[TextPrediction] = []
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            outputs = self._signature(**{features.TEXT: self._tf.constant(batch)})
            answers += self._answers(batch, outputs)
        return answers

    def _answers(self, texts: list[str], outputs: dict[str, Any]) -> Iterator[TextPrediction]:
        rows = outputs[features.SCORES].numpy().tolist()
        chosen = outputs[features.PREDICTED_LABEL].numpy().tolist()
        best = outputs[features.SCORE].numpy().tolist()
        for text, row, label, score in zip(texts, rows, chosen, best, strict=True):
            scores = dict(zip(self.labels, row, strict=True))
            yield TextPrediction(text, label.decode("utf-8"), score, scores)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what TensorFlow's libraries print while they load.

    They write to the file descriptor and bypass ``sys.stderr``. Exceptions are not affected.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    screen = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)
