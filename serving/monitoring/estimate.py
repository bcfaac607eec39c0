"""Estimates accuracy on unlabelled traffic from calibrated confidence.

Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks") calibrates the
confidence on held-out texts. The estimate is the accuracy there, shifted by the difference in
confidence (Guillory et al. 2021, "Predicting with Confidence on Unseen Distributions"). It detects
texts on which the model is unsure, and misses those on which it is confidently wrong;
docs/results.md has its errors under real drift.
"""

import dataclasses
import math
from statistics import NormalDist

import numpy as np

from serving.monitoring.descriptions import Array

_LEAST_SCORE = 1e-12


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimated accuracy.

    Attributes:
        accuracy: 0 to 1.
        low: lower end of the interval.
        high: upper end; the interval covers the sampling of texts, but not confidently wrong
            predictions.
    """

    accuracy: float
    low: float
    high: float


def estimate_accuracy(
    reference_scores: Array, correct: Array, window_scores: Array, confidence: float
) -> Estimate:
    """Estimate the share of correct predictions in a window.

    Args:
        reference_scores: float[texts, labels], scores of held-out texts.
        correct: bool[texts], whether the predictions for them are correct.
        window_scores: float[texts, labels], scores of recent texts.
        confidence: confidence level of the interval.
    """
    temperature = fit_temperature(reference_scores, correct)
    known = calibrated_confidence(reference_scores, temperature)
    recent = calibrated_confidence(window_scores, temperature)
    gap = correct.astype(float) - known
    accuracy = float(gap.mean() + recent.mean())
    error = math.sqrt(gap.var() / len(gap) + recent.var() / len(recent))
    half = NormalDist().inv_cdf((1 + confidence) / 2) * error
    low, middle, high = (
        min(max(x, 0.0), 1.0) for x in (accuracy - half, accuracy, accuracy + half)
    )
    return Estimate(middle, low, high)


def fit_temperature(scores: Array, correct: Array) -> float:
    """Return the temperature under which confidence best explains which predictions are correct.

    It maximises the likelihood of ``correct``, so it needs no true labels.
    """
    from scipy import optimize

    def loss(log_temperature: float) -> float:
        sure = np.clip(calibrated_confidence(scores, math.exp(log_temperature)), 1e-6, 1 - 1e-6)
        return float(-np.mean(np.log(np.where(correct, sure, 1 - sure))))

    found = optimize.minimize_scalar(loss, bounds=(math.log(0.05), math.log(20)), method="bounded")
    return math.exp(float(found.x))


def calibrated_confidence(scores: Array, temperature: float) -> Array:
    """Return float64[texts], the highest score after dividing the logits by the temperature."""
    logits = np.log(np.maximum(np.asarray(scores, np.float64), _LEAST_SCORE)) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    return 1 / np.exp(logits).sum(axis=1)
