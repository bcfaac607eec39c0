"""Bootstrap intervals against theory and a plain loop."""

import numpy as np
import pytest

from components.evaluation import bootstrap
from components.evaluation.metrics import METRICS, ScoredExamples, point_values


def binary(correct: np.ndarray, true: np.ndarray | None = None) -> ScoredExamples:
    """Return answers that are right where ``correct`` is true."""
    if true is None:
        true = np.arange(len(correct)) % 2
    predicted = np.where(correct, true, 1 - true)
    scores = np.full((len(correct), 2), 0.2, np.float32)
    scores[np.arange(len(correct)), predicted] = 0.8
    return ScoredExamples(true, scores)


def compare(
    candidate: ScoredExamples,
    baseline: ScoredExamples | None,
    metric: str = "accuracy",
    seed: int = 0,
) -> bootstrap.Comparison:
    return bootstrap.compare(metric, candidate, baseline, samples=2000, confidence=0.95, seed=seed)


def test_interval_of_accuracy_matches_the_binomial() -> None:
    examples, share = 1000, 0.8
    interval = compare(binary(np.arange(examples) < share * examples), None).candidate
    half = 1.96 * np.sqrt(share * (1 - share) / examples)
    assert interval.low == pytest.approx(share - half, abs=0.004)
    assert interval.high == pytest.approx(share + half, abs=0.004)


def test_model_compared_with_itself_has_no_difference() -> None:
    model = binary(np.random.default_rng(0).random(200) < 0.7)
    comparison = compare(model, model)
    assert comparison.difference == bootstrap.Interval(0.0, 0.0)
    assert comparison.better_share == 0.0


def test_pairing_narrows_the_interval_of_the_difference() -> None:
    random = np.random.default_rng(0)
    ours = random.random(400) < 0.7
    theirs = ours.copy()
    theirs[np.flatnonzero(ours)[:8]] = False  # the same answers except for eight examples
    comparison = compare(binary(ours), binary(theirs))
    assert comparison.difference is not None
    assert comparison.baseline is not None
    width = comparison.difference.high - comparison.difference.low
    alone = comparison.candidate.high - comparison.candidate.low
    assert width < alone / 2
    assert comparison.difference.low > 0
    assert comparison.candidate.low < comparison.baseline.high  # unpaired intervals overlap


def test_interval_has_its_nominal_coverage() -> None:
    random = np.random.default_rng(3)
    held = 0
    for trial in range(200):
        correct = random.random(300) < 0.75
        interval = bootstrap.compare(
            "accuracy", binary(correct), None, samples=400, confidence=0.9, seed=trial
        ).candidate
        held += interval.low <= 0.75 <= interval.high
    assert 0.84 <= held / 200 <= 0.96


def test_same_seed_gives_the_same_interval() -> None:
    model = binary(np.random.default_rng(0).random(150) < 0.7)
    assert compare(model, None, seed=1) == compare(model, None, seed=1)
    first, second = (next(bootstrap.resample(150, 5, seed)) for seed in (1, 2))
    assert (first != second).any()


def test_chunk_size_does_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    model = binary(np.random.default_rng(0).random(150) < 0.7)
    whole = compare(model, None)
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 1000)
    chunks = list(bootstrap.resample(150, 20, seed=0))
    assert [len(chunk) for chunk in chunks] == [6, 6, 6, 2]
    assert compare(model, None) == whole


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_batched_resamples_equal_a_plain_loop(metric: str) -> None:
    random = np.random.default_rng(0)
    true = random.integers(0, 3, 40)
    model = ScoredExamples(true, random.dirichlet(np.ones(3), 40).astype(np.float32))
    [weights] = bootstrap.resample(40, 25, seed=5)
    assert weights.sum(axis=1).tolist() == [40] * 25
    for row, value in zip(weights, METRICS[metric](model, weights), strict=True):
        drawn = np.repeat(np.arange(40), row.astype(int))
        alone = point_values(ScoredExamples(model.true[drawn], model.scores[drawn]))[metric]
        assert value == pytest.approx(alone, abs=1e-6)


def test_models_on_different_examples_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="same examples"):
        compare(binary(np.ones(4, bool)), binary(np.ones(4, bool), np.array([1, 1, 0, 0])))


def test_undefined_metric_has_no_interval() -> None:
    one_class = binary(np.ones(10, bool), np.ones(10, np.int64))
    interval = compare(one_class, None, "auc").candidate
    assert np.isnan([interval.low, interval.high]).all()
