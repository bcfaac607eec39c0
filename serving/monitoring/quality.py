"""How often the answers were right, from labels that came back."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.monitoring.descriptions import Array

Interval = tuple[float, float]
#: Resampled confusion matrices for the interval around F1.
_RESAMPLES = 2_000


@dataclasses.dataclass(frozen=True)
class QualityReport:
    """How good the deployed version's answers were in a window of traffic.

    Attributes:
        model_version: the version; None when none is known.
        n: answers of it whose true label came back.
        accuracy: share of them that are right; None without any.
        interval: Wilson's interval around it.
        macro_f1: mean F1 of the labels; None without any.
        macro_f1_interval: bootstrap percentiles around it.
        evaluation_accuracy: on the test split, before the version was pushed; None when not known.
        estimated_accuracy: from the confidence in texts without labels; None when not told.
        estimated_interval: what drawing other texts would change.
        estimated_from: texts that it was told by.
        confidence: of all intervals.
        window_start: seconds since 1970.
        window_end: seconds since 1970.
        notes: why something is missing.
    """

    model_version: int | None
    n: int
    accuracy: float | None
    interval: Interval | None
    macro_f1: float | None
    macro_f1_interval: Interval | None
    evaluation_accuracy: float | None
    estimated_accuracy: float | None
    estimated_interval: Interval | None
    estimated_from: int
    confidence: float
    window_start: float
    window_end: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return dataclasses.asdict(self)


def macro_f1(
    predicted: Sequence[str], true: Sequence[str], confidence: float, seed: int = 0
) -> tuple[float, Interval]:
    """Mean F1 over the labels that occur, and its interval by the percentile bootstrap.

    Answers are drawn anew with their labels (Efron 1979); which labels are averaged stays.

    Args:
        predicted: the answers; one or more.
        true: their true labels.
        confidence: of the interval.
        seed: of the draws.
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
    """float[matrices] of float[matrices, true, predicted]; a label that never occurs has F1 0."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    either = confusion.sum(axis=1) + confusion.sum(axis=2)
    return np.mean(2 * hits / np.maximum(either, 1), axis=1)
