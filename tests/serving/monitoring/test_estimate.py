"""Estimated accuracy is right where confidence is calibrated, and its interval has its coverage."""

import numpy as np
import pytest

from serving.monitoring.estimate import calibrated_confidence, estimate_accuracy, fit_temperature


def draw(count: int, seed: int, logits: tuple[float, float], sharpen: float) -> tuple:
    """Return scores that are overconfident by ``sharpen``, and whether predictions are correct."""
    generator = np.random.default_rng(seed)
    true = generator.normal(*logits, count)
    sure = 1 / (1 + np.exp(-np.abs(true)))
    correct = generator.random(count) < sure
    shown = 1 / (1 + np.exp(-np.abs(true) * sharpen))
    return np.stack([shown, 1 - shown], axis=1), correct


def test_temperature_undoes_overconfidence() -> None:
    scores, correct = draw(20_000, 1, (0, 3), sharpen=3.0)
    assert fit_temperature(scores, correct) == pytest.approx(3.0, rel=0.1)


def test_temperature_one_leaves_scores_unchanged() -> None:
    scores, _ = draw(10, 1, (0, 3), sharpen=1.0)
    np.testing.assert_allclose(calibrated_confidence(scores, 1.0), scores.max(axis=1), rtol=1e-6)


def test_estimate_falls_on_harder_texts() -> None:
    reference, correct = draw(2000, 1, (0, 4), sharpen=3.0)
    window, right = draw(2000, 2, (0, 1), sharpen=3.0)
    estimate = estimate_accuracy(reference, correct, window, 0.95)
    assert correct.mean() - right.mean() > 0.1
    assert estimate.accuracy == pytest.approx(right.mean(), abs=0.03)
    assert estimate.low < estimate.accuracy < estimate.high


def test_interval_covers_the_accuracy_at_its_confidence_level() -> None:
    inside = 0
    for seed in range(100):
        reference, correct = draw(500, seed, (0, 3), sharpen=2.0)
        window, _ = draw(300, seed + 1000, (0, 3), sharpen=2.0)
        expected = calibrated_confidence(window, 2.0).mean()
        estimate = estimate_accuracy(reference, correct, window, 0.9)
        inside += estimate.low <= expected <= estimate.high
    assert inside >= 80


def test_scores_of_zero_and_one_are_accepted() -> None:
    scores = np.array([[1.0, 0.0], [0.0, 1.0]])
    estimate = estimate_accuracy(scores, np.array([True, True]), scores, 0.95)
    assert 0.9 < estimate.accuracy <= 1.0
