import pytest

from serving.monitoring.quality import macro_f1


def test_macro_f1_is_the_mean_of_the_labels() -> None:
    predicted, true = ["a", "a", "b", "b", "b"], ["a", "b", "b", "b", "a"]
    value, (low, high) = macro_f1(predicted, true, 0.95)
    assert value == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert 0 <= low < value < high <= 1


def test_label_that_is_never_predicted_counts_as_zero() -> None:
    assert macro_f1(["a", "a"], ["a", "b"], 0.95)[0] == pytest.approx((2 / 3 + 0) / 2)


def test_one_prediction_is_enough_and_the_interval_is_reproducible() -> None:
    assert macro_f1(["a"], ["a"], 0.95) == (1.0, (1.0, 1.0))
    many = ["a", "b"] * 20, ["a", "b", "b", "b"] * 10
    assert macro_f1(*many, 0.95) == macro_f1(*many, 0.95)


def test_more_predictions_narrow_the_interval() -> None:
    few, many = (macro_f1(["a", "b"] * n, ["a", "b", "b", "b"] * (n // 2), 0.95) for n in (10, 200))
    assert many[1][1] - many[1][0] < few[1][1] - few[1][0]
