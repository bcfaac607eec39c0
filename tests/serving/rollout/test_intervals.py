import pytest
from scipy import stats

from serving.rollout import intervals


def test_difference_matches_newcombes_example() -> None:
    """The paper's table II, method 10: 56/70 against 48/80."""
    assert intervals.difference((56, 70), (48, 80), 0.95) == pytest.approx(
        (0.0524, 0.3339), abs=1e-4
    )


@pytest.mark.parametrize(("count", "total"), [(0, 5), (3, 7), (7, 7), (81, 263)])
def test_wilson_and_exact_bound_match_scipy(count, total) -> None:
    test = stats.binomtest(count, total)
    expected = test.proportion_ci(0.95, "wilson")
    assert intervals.wilson(count, total, 0.95) == pytest.approx((expected.low, expected.high))
    greater = stats.binomtest(count, total, alternative="greater").proportion_ci(0.99, "exact")
    assert intervals.lower_bound(count, total, 0.99) == pytest.approx(greater.low)


def test_lower_bound_of_no_trials_is_zero() -> None:
    assert intervals.lower_bound(0, 0, 0.99) == 0.0
