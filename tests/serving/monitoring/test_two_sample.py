"""Each test keeps its false-alarm rate on data of one source, and detects a real difference."""

from collections.abc import Callable

import numpy as np
import pytest

from serving.monitoring import two_sample
from serving.monitoring.two_sample import Deals, Difference

Draw = Callable[[np.random.Generator, int, bool], np.ndarray]


def _numbers(generator: np.random.Generator, count: int, drifted: bool) -> np.ndarray:
    return generator.normal(0.8 if drifted else 0, 1, count)


def _classes(generator: np.random.Generator, count: int, drifted: bool) -> np.ndarray:
    shares = [0.5, 0.3, 0.19, 0.01] if drifted else [0.8, 0.1, 0.09, 0.01]
    return generator.choice(4, count, p=shares)


def _shares(generator: np.random.Generator, count: int, drifted: bool) -> np.ndarray:
    weights = np.ones(30)
    weights[: 10 if drifted else 0] = 3
    return generator.dirichlet(weights, count).astype(np.float32)


def _vectors(generator: np.random.Generator, count: int, drifted: bool) -> np.ndarray:
    return generator.normal(0, 1.5 if drifted else 1, (count, 5)).astype(np.float32)


def _rates(old: np.ndarray, new: np.ndarray, deals: Deals) -> Difference:
    """Compare the rates of unknown tokens, with 20 tokens per text."""

    def events(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (numbers > 1.5).astype(int), np.full(len(numbers), 20)

    return two_sample.rate_increase(events(old), events(new), deals)


CASES: dict[str, tuple[Draw, Callable[[np.ndarray, np.ndarray, Deals], Difference]]] = {
    "ks": (_numbers, lambda old, new, _: two_sample.kolmogorov_smirnov(old, new)),
    "shares": (_classes, two_sample.share_distance),
    "rate": (_numbers, _rates),
    "words": (_shares, two_sample.jensen_shannon),
    "mmd": (_vectors, two_sample.maximum_mean_discrepancy),
}


def run(case: str, seed: int, *, drifted: bool) -> Difference:
    draw, compare = CASES[case]
    generator = np.random.default_rng(seed)
    old, new = draw(generator, 80, False), draw(generator, 60, drifted)
    return compare(old, new, Deals(80, 60, 199, seed))


@pytest.mark.parametrize("case", CASES)
def test_p_values_are_not_too_small_without_a_difference(case: str) -> None:
    p_values = np.array([run(case, seed, drifted=False).p for seed in range(100)])
    # At a rate of 0.1, more than 20 of 100 occur with a probability of 0.0008.
    assert np.sum(p_values <= 0.1) <= 20
    assert np.mean(p_values) > 0.4


@pytest.mark.parametrize("case", CASES)
def test_real_difference_is_detected(case: str) -> None:
    found = [run(case, seed, drifted=True) for seed in range(20)]
    assert np.mean([difference.p <= 0.05 for difference in found]) >= 0.8
    assert np.mean([difference.effect for difference in found]) > 0


def test_same_seed_gives_the_same_p_value() -> None:
    assert run("mmd", 3, drifted=False) == run("mmd", 3, drifted=False)


def test_deals_keep_their_sizes_and_are_uniform() -> None:
    deals = Deals(7, 3, 4000, seed=1)
    dealt = np.concatenate(list(deals.random()))
    assert dealt.shape == (4000, 10)
    assert set(dealt.sum(axis=1)) == {3}
    np.testing.assert_allclose(dealt.mean(0), 0.3, atol=0.04)
    assert deals.actual().tolist() == [[0] * 7 + [1] * 3]


def test_mean_discrepancy_equals_the_textbook_formula() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(0, 1, (6, 3)), generator.normal(1, 1, (4, 3))
    pooled = np.concatenate([x, y])
    squared = ((pooled[:, None] - pooled[None]) ** 2).sum(-1)
    kernel = np.exp(-squared / np.median(squared))
    within = [kernel[:6, :6], kernel[6:, 6:]]
    means = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in within]
    expected = sum(means) - 2 * kernel[:6, 6:].mean()
    observed = []

    class Watched(Deals):
        def test(self, statistic: Callable[[np.ndarray], np.ndarray]) -> Difference:
            observed.append(statistic(self.actual())[0])
            return super().test(statistic)

    two_sample.maximum_mean_discrepancy(x, y, Watched(6, 4, 19, 0))
    np.testing.assert_allclose(observed, [expected], rtol=1e-5)


def test_lower_rate_is_not_an_increase() -> None:
    trials = np.full(50, 10)
    many, none = np.full(50, 3), np.zeros(50, int)
    difference = two_sample.rate_increase((many, trials), (none, trials), Deals(50, 50, 199, 0))
    assert difference.effect == pytest.approx(-0.3)
    assert difference.p == 1.0


def test_equal_sets_have_no_difference() -> None:
    same = np.ones((20, 4), np.float32)
    assert two_sample.maximum_mean_discrepancy(same, same, Deals(20, 20, 99, 0)).p == 1.0
    assert two_sample.share_distance(same[:, 0], same[:, 0], Deals(20, 20, 99, 0)).p == 1.0
