"""Classification metrics under example weights, for many weightings at once. NumPy only.

Each function takes ``weights`` float32[resamples, examples] and returns float64[resamples]. A point
value uses one row of ones; a bootstrap resample is a row of counts. The value and its interval thus
come from the same code.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

#: Number of bins of the calibration error, as in Guo et al. 2017.
CALIBRATION_BINS = 15
#: Value of ``predicted`` for an example without usable scores.
NO_ANSWER = -1


@dataclasses.dataclass(frozen=True)
class ScoredExamples:
    """One model's scores on examples whose true classes are known.

    Attributes:
        true: int64[examples], index of the true class.
        scores: float32[examples, classes], all zero for an example without a usable answer.
    """

    true: IntArray
    scores: FloatArray

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return int(self.scores.shape[1])

    @property
    def predicted(self) -> IntArray:
        """int64[examples], index of the class with the best score, or ``NO_ANSWER``."""
        best = self.scores.argmax(axis=1).astype(np.int64)
        return np.where(self.scores.max(axis=1) > 0, best, NO_ANSWER)

    def ones(self) -> FloatArray:
        """Return the weights of a point value, float32[1, examples]: every example once."""
        return np.ones((1, len(self.true)), np.float32)


@dataclasses.dataclass(frozen=True)
class _ClassCounts:
    """Weights per class, float64[resamples, classes] each: true class, predicted class, both."""

    true: FloatArray
    predicted: FloatArray
    hit: FloatArray


def accuracy(answers: ScoredExamples, weights: FloatArray) -> FloatArray:
    """Return the share of examples whose best-scored class is the true one, float64[resamples].

    Args:
        answers: scores and true classes.
        weights: float32[resamples, examples].
    """
    correct = (answers.predicted == answers.true).astype(np.float32)
    return _divide(weights @ correct, weights.sum(axis=1))


def class_precision(answers: ScoredExamples, weights: FloatArray) -> FloatArray:
    """Return the precision of each class, float64[resamples, classes].

    It is 0 for a class that is never predicted, and NaN for one that has no example.

    Args:
        answers: scores and true classes.
        weights: float32[resamples, examples].
    """
    counts = _count(answers, weights)
    return _present(_divide(counts.hit, counts.predicted, empty=0.0), counts)


def class_recall(answers: ScoredExamples, weights: FloatArray) -> FloatArray:
    """Return the recall of each class, float64[resamples, classes]; NaN without examples.

    Args:
        answers: scores and true classes.
        weights: float32[resamples, examples].
    """
    counts = _count(answers, weights)
    return _present(_divide(counts.hit, counts.true), counts)


def class_f1(answers: ScoredExamples, weights: FloatArray) -> FloatArray:
    """Return the F1 of each class, float64[resamples, classes]; NaN without examples.

    Args:
        answers: scores and true classes.
        weights: float32[resamples, examples].
    """
    counts = _count(answers, weights)
    return _present(_divide(2 * counts.hit, counts.true + counts.predicted), counts)


def class_auc(answers: ScoredExamples, weights: FloatArray) -> FloatArray:
    """Return the area under the ROC curve of each class against the rest.

    This is the probability that a random example of the class scores higher than a random other
    example, with ties counting half (Hanley & McNeil 1982).

    Args:
        answers: scores and true classes.
        weights: float32[resamples, examples].

    Returns:
        float64[resamples, classes]; NaN if the class or the rest has no example.
    """
    areas = [
        _one_vs_rest_auc(answers.scores[:, index], answers.true == index, weights)
        for index in range(answers.num_classes)
    ]
    return np.stack(areas, axis=1)


def calibration_error(answers: ScoredExamples, weights: FloatArray) -> FloatArray:
    """Return the expected calibration error over 15 bins of equal width of the best score.

    See Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, eq. 3.

    Args:
        answers: scores and true classes.
        weights: float32[resamples, examples].

    Returns:
        float64[resamples], from 0 to 1.
    """
    confidence = answers.scores.max(axis=1)
    correct = answers.predicted == answers.true
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS) - 1, 0, CALIBRATION_BINS - 1)
    # |accuracy - confidence| times the bin's weight equals |sum of (correct - confidence)|.
    gap = _one_hot(bins.astype(np.int64), CALIBRATION_BINS)
    gap *= (correct - confidence).astype(np.float32)[:, None]
    return _divide(np.abs(weights @ gap).sum(axis=1), weights.sum(axis=1))


def _macro(
    per_class: Callable[[ScoredExamples, FloatArray], FloatArray],
) -> Callable[[ScoredExamples, FloatArray], FloatArray]:
    """Return the metric's mean over the classes that occur among the true labels.

    Classes that are only predicted are excluded, so that two models on the same examples are
    averaged over the same classes.
    """

    def macro(answers: ScoredExamples, weights: FloatArray) -> FloatArray:
        values = per_class(answers, weights)
        known = ~np.isnan(values)
        return _divide(np.where(known, values, 0).sum(axis=1), known.sum(axis=1))

    return macro


METRICS: dict[str, Callable[[ScoredExamples, FloatArray], FloatArray]] = {
    "accuracy": accuracy,
    "macro_f1": _macro(class_f1),
    "macro_precision": _macro(class_precision),
    "macro_recall": _macro(class_recall),
    "auc": _macro(class_auc),
    "calibration_error": calibration_error,
}
PER_CLASS: dict[str, Callable[[ScoredExamples, FloatArray], FloatArray]] = {
    "precision": class_precision,
    "recall": class_recall,
    "f1": class_f1,
    "auc": class_auc,
}


def point_values(answers: ScoredExamples) -> dict[str, float]:
    """Return the value of every metric of ``METRICS``; NaN if it is not defined."""
    return {name: float(metric(answers, answers.ones())[0]) for name, metric in METRICS.items()}


def class_values(answers: ScoredExamples) -> dict[str, FloatArray]:
    """Return every metric of ``PER_CLASS``, float64[classes]; NaN where it is not defined."""
    return {name: metric(answers, answers.ones())[0] for name, metric in PER_CLASS.items()}


def confusion_matrix(answers: ScoredExamples) -> IntArray:
    """Return the confusion matrix, int64[classes, classes + 1].

    Rows are true classes, columns predicted classes; the last column is "no answer".
    """
    width = answers.num_classes + 1
    column = np.where(answers.predicted == NO_ANSWER, width - 1, answers.predicted)
    cells = np.bincount(answers.true * width + column, minlength=answers.num_classes * width)
    return cells.reshape(answers.num_classes, width).astype(np.int64)


def constant_answers(true: IntArray, num_classes: int) -> ScoredExamples:
    """Return the answers of a model that always predicts the majority class with score 1.

    Args:
        true: int64[examples], index of the true class.
        num_classes: number of classes.
    """
    scores = np.zeros((len(true), num_classes), np.float32)
    scores[:, np.bincount(true, minlength=num_classes).argmax()] = 1.0
    return ScoredExamples(true, scores)


def _count(answers: ScoredExamples, weights: FloatArray) -> _ClassCounts:
    true = _one_hot(answers.true, answers.num_classes)
    predicted = _one_hot(answers.predicted, answers.num_classes)
    return _ClassCounts(
        true=(weights @ true).astype(np.float64),
        predicted=(weights @ predicted).astype(np.float64),
        hit=(weights @ (true * predicted)).astype(np.float64),
    )


def _one_hot(indices: IntArray, width: int) -> npt.NDArray[np.float32]:
    """Return float32[examples, width], with a row of zeros for a negative index."""
    return (indices[:, None] == np.arange(width)[None, :]).astype(np.float32)


def _present(values: FloatArray, counts: _ClassCounts) -> FloatArray:
    return np.where(counts.true > 0, values, np.nan)


def _divide(above: FloatArray, below: FloatArray, empty: float = np.nan) -> FloatArray:
    result = np.full(np.shape(above), empty, np.float64)
    return np.divide(above, below, out=result, where=np.asarray(below) > 0, dtype=np.float64)


def _one_vs_rest_auc(
    scores: FloatArray, positive: npt.NDArray[np.bool_], weights: FloatArray
) -> FloatArray:
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    # Examples with equal scores form one group; within a group, neither side wins.
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    gathered = weights[:, order].astype(np.float64)
    inside = np.add.reduceat(gathered * positive[order], starts, axis=1)
    outside = np.add.reduceat(gathered * ~positive[order], starts, axis=1)
    below = np.cumsum(outside, axis=1) - outside
    wins = (inside * (below + 0.5 * outside)).sum(axis=1)
    return _divide(wins, inside.sum(axis=1) * outside.sum(axis=1))
