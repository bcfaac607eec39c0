"""Metrics against values computed by hand, and weights against repeated examples."""

import numpy as np
import pytest

from components.evaluation import metrics
from components.evaluation.metrics import ScoredExamples


def answers(true: list[int], scores: list[list[float]]) -> ScoredExamples:
    return ScoredExamples(np.array(true, np.int64), np.array(scores, np.float32))


@pytest.fixture
def three_classes() -> ScoredExamples:
    # True 0: right, right, predicted as 1. True 1: right, predicted as 2. True 2: right.
    return answers(
        [0, 0, 0, 1, 1, 2],
        [
            [0.8, 0.1, 0.1],
            [0.6, 0.3, 0.1],
            [0.3, 0.5, 0.2],
            [0.2, 0.7, 0.1],
            [0.1, 0.4, 0.5],
            [0.1, 0.2, 0.7],
        ],
    )


def random_answers(examples: int = 60, classes: int = 4, seed: int = 0) -> ScoredExamples:
    random = np.random.default_rng(seed)
    raw = random.normal(size=(examples, classes))
    true = random.integers(0, classes, examples)
    raw[np.arange(examples), true] += 1
    scores = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    # Rounded, so that ties occur.
    return ScoredExamples(true, scores.round(1).astype(np.float32))


def test_metrics_match_values_computed_by_hand(three_classes: ScoredExamples) -> None:
    values = metrics.point_values(three_classes)
    assert values["accuracy"] == pytest.approx(4 / 6)
    precision, recall = [1.0, 0.5, 0.5], [2 / 3, 0.5, 1.0]
    f1 = [2 * p * r / (p + r) for p, r in zip(precision, recall, strict=True)]
    assert values["macro_precision"] == pytest.approx(np.mean(precision))
    assert values["macro_recall"] == pytest.approx(np.mean(recall))
    assert values["macro_f1"] == pytest.approx(np.mean(f1))
    by_class = metrics.class_values(three_classes)
    np.testing.assert_allclose(by_class["precision"], precision)
    np.testing.assert_allclose(by_class["recall"], recall)
    np.testing.assert_allclose(by_class["f1"], f1)


def test_auc_is_the_share_of_ordered_pairs_with_ties_counting_half() -> None:
    some = random_answers()
    by_class = metrics.class_values(some)["auc"]
    for index, value in enumerate(by_class):
        inside = some.scores[some.true == index, index]
        outside = some.scores[some.true != index, index]
        wins = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
        assert value == pytest.approx(wins.mean())
    assert metrics.point_values(some)["auc"] == pytest.approx(by_class.mean())


def test_auc_of_a_single_class_is_undefined() -> None:
    assert np.isnan(metrics.point_values(answers([1, 1], [[0.4, 0.6], [0.7, 0.3]]))["auc"])


def test_calibration_error_matches_a_value_computed_by_hand() -> None:
    # Two bins: 0.95 twice, half right; 0.65 twice, all right.
    some = answers([0, 1, 0, 0], [[0.95, 0.05], [0.95, 0.05], [0.65, 0.35], [0.65, 0.35]])
    expected = 0.5 * abs(0.5 - 0.95) + 0.5 * abs(1.0 - 0.65)
    assert metrics.point_values(some)["calibration_error"] == pytest.approx(expected, abs=1e-6)


def test_full_confidence_falls_into_the_last_bin() -> None:
    assert metrics.point_values(answers([0], [[1.0, 0.0]]))["calibration_error"] == 0.0


def test_classes_that_are_only_predicted_are_excluded_from_the_mean() -> None:
    some = answers([0, 0], [[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    assert metrics.point_values(some)["macro_recall"] == pytest.approx(0.5)
    assert np.isnan(metrics.class_values(some)["recall"][1:]).all()


def test_no_answer_counts_as_wrong_in_its_own_column() -> None:
    some = answers([0, 1], [[0.0, 0.0], [0.2, 0.8]])
    assert metrics.point_values(some)["accuracy"] == 0.5
    assert metrics.confusion_matrix(some).tolist() == [[0, 0, 1], [0, 1, 0]]


def test_confusion_matrix_matches_counts_by_hand(three_classes: ScoredExamples) -> None:
    expected = [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]]
    assert metrics.confusion_matrix(three_classes).tolist() == expected


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_weighting_equals_repeating_examples(name: str) -> None:
    some = random_answers()
    counts = np.random.default_rng(1).integers(0, 3, len(some.true))
    chosen = np.repeat(np.arange(len(some.true)), counts)
    repeated = ScoredExamples(some.true[chosen], some.scores[chosen])
    weighted = metrics.METRICS[name](some, counts[None].astype(np.float32))
    assert weighted[0] == pytest.approx(metrics.point_values(repeated)[name], abs=1e-6)


def test_constant_answer_has_the_accuracy_of_the_majority_share() -> None:
    true = np.array([2, 2, 2, 0, 1])
    constant = metrics.constant_answers(true, 3)
    assert metrics.point_values(constant)["accuracy"] == pytest.approx(0.6)
    assert metrics.point_values(constant)["auc"] == pytest.approx(0.5)
