"""Bootstrap intervals: resample the test examples, measure again, take percentiles.

This is the percentile interval of Efron & Tibshirani, "An Introduction to the Bootstrap" (1993),
chapter 13. Two models are compared on the *same* resamples (paired), as in Koehn, "Statistical
Significance Tests for Machine Translation Evaluation" (EMNLP 2004): whatever makes an example hard
for both models cancels in the difference.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from components.evaluation.metrics import METRICS, FloatArray, ScoredExamples

#: Number of cells (resamples x examples) in memory at once.
_CHUNK_CELLS = 4_000_000


@dataclasses.dataclass(frozen=True)
class Interval:
    """A percentile interval; both ends are NaN if the metric is not defined."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Result of the bootstrap.

    Attributes:
        candidate: interval of the candidate's metric.
        baseline: interval of the baseline's metric, or None without a baseline.
        difference: interval of candidate minus baseline, or None.
        better_share: share of the resamples in which the candidate's metric is greater, or None.
    """

    candidate: Interval
    baseline: Interval | None = None
    difference: Interval | None = None
    better_share: float | None = None


def compare(
    metric: str,
    candidate: ScoredExamples,
    baseline: ScoredExamples | None,
    *,
    samples: int,
    confidence: float,
    seed: int,
) -> Comparison:
    """Resample the examples and measure one model, or two on the same resamples.

    Args:
        metric: a key of ``METRICS``.
        candidate: the candidate's answers.
        baseline: the baseline's answers on the same examples in the same order, or None.
        samples: number of resamples.
        confidence: confidence level of the intervals, between 0 and 1.
        seed: seed of the draws; the same seed and examples give the same intervals.

    Raises:
        ValueError: the two models answered different examples.
    """
    if baseline is not None and not np.array_equal(candidate.true, baseline.true):
        raise ValueError("a paired bootstrap needs both models' answers on the same examples")
    measure = METRICS[metric]
    ours, theirs = [], []
    for weights in resample(len(candidate.true), samples, seed):
        ours.append(measure(candidate, weights))
        if baseline is not None:
            theirs.append(measure(baseline, weights))
    candidate_values = np.concatenate(ours)
    if baseline is None:
        return Comparison(_interval(candidate_values, confidence))
    baseline_values = np.concatenate(theirs)
    difference = candidate_values - baseline_values
    known = difference[~np.isnan(difference)]
    return Comparison(
        candidate=_interval(candidate_values, confidence),
        baseline=_interval(baseline_values, confidence),
        difference=_interval(difference, confidence),
        better_share=float((known > 0).mean()) if known.size else float("nan"),
    )


def resample(examples: int, samples: int, seed: int) -> Iterator[FloatArray]:
    """Draw the resamples, in chunks that fit into memory.

    Args:
        examples: number of examples in the test split and in each resample.
        samples: total number of resamples.
        seed: seed of the draws.

    Yields:
        float32[resamples of the chunk, examples]: how often each example is drawn. Each row sums
        to ``examples``.
    """
    random = np.random.default_rng(seed)
    rows = max(1, _CHUNK_CELLS // examples)
    for start in range(0, samples, rows):
        count = min(rows, samples - start)
        drawn = random.integers(0, examples, size=(count, examples), dtype=np.int64)
        drawn += np.arange(count)[:, None] * examples
        cells = np.bincount(drawn.ravel(), minlength=count * examples)
        yield cells.reshape(count, examples).astype(np.float32)


def _interval(values: FloatArray, confidence: float) -> Interval:
    # Without its rare classes, a resample's metric may be undefined; skip those resamples.
    known = values[~np.isnan(values)]
    if not known.size:
        return Interval(float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(float(low), float(high))
