"""Quality of predictions whose true labels are known."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.monitoring.descriptions import Array

Interval = tuple[float, float]
#: Number of resampled confusion matrices for the interval of F1.
_RESAMPLES = 2_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class QualityReport:
    """The quality of the deployed version's predictions in a window of traffic.

    Attributes:
        model_version: the version; None if unknown.
        n: number of its predictions whose true label is known.
        accuracy: share of them that are correct; None without any.
        interval: Wilson interval of the accuracy.
        macro_f1: mean F1 of the labels; None without any.
        macro_f1_interval: percentile bootstrap interval of it.
        evaluation_accuracy: accuracy on the test split before the push; None if unknown.
        estimated_accuracy: estimated from confidence on unlabelled texts; None if not estimated.
        estimated_interval: its interval, which covers the sampling of texts.
        estimated_from: number of texts behind the estimate.
        confidence: confidence level of all intervals.
        window_start: seconds since 1970.
        window_end: seconds since 1970.
        notes: why figures are missing.
    """

    model_version: int | None
    n: int
    accuracy: float | None
    interval: Interval | None
    macro_f1: float | None
    macro_f1_interval: Interval | None
    evaluation_accuracy: float | None = None
    estimated_accuracy: float | None = None
    estimated_interval: Interval | None = None
    estimated_from: int = 0
    confidence: float
    window_start: float
    window_end: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON types."""
        return dataclasses.asdict(self)


def macro_f1(
    predicted: Sequence[str], true: Sequence[str], confidence: float, seed: int = 0
) -> tuple[float, Interval]:
    """Return the mean F1 over the labels that occur, and its percentile bootstrap interval.

    Predictions are resampled with their labels (Efron 1979); the set of labels stays the same.

    Args:
        predicted: the predicted labels, one or more.
        true: the true labels.
        confidence: confidence level of the interval.
        seed: seed of the resampling.
    """
    labels = sorted({*predicted, *true})
    index = {label: position for position, label in enumerate(labels)}
    cells = np.zeros((len(labels), len(labels)))
    for answer, label in zip(predicted, true, strict=True):
        cells[index[label], index[answer]] += 1
    shares = (cells / cells.sum()).ravel()
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(true), shares, size=_RESAMPLES)
    resampled = _mean_f1(drawn.reshape(-1, *cells.shape))
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(_mean_f1(cells[np.newaxis])[0]), (float(low), float(high))


def _mean_f1(confusion: Array) -> Array:
    """Return float[matrices] of float[matrices, true, predicted]; an absent label has F1 0."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    either = confusion.sum(axis=1) + confusion.sum(axis=2)
    return np.mean(2 * hits / np.maximum(either, 1), axis=1)
