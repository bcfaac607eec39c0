"""Two-sample tests: could two sets of texts come from one source?

Where no textbook distribution fits (words come in bursts, classes may be rare, embeddings have
hundreds of dimensions), the p-value is that of a permutation test: texts are dealt to the two sets
at random, and the p-value is the share of deals that differ at least as much, ``(1 + worse) / (1 +
deals)`` (Phipson and Smyth 2010, "Permutation p-values should never be zero"). It is exact for any
statistic and any size, as long as the texts are independent of each other.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from serving.monitoring.descriptions import Array

#: Deals computed at a time; bounds the memory.
_CHUNK = 256
#: A test ends after this many deals that are at least as extreme.
_ENOUGH_WORSE = 20
#: Maximum of deals times texts kept for the next test: 128 MiB.
_KEPT_CELLS = 1 << 25


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference between two sets.

    Attributes:
        effect: its size in the test's unit, without what sampling alone adds.
        p: probability of at least this difference if both sets come from one source.
    """

    effect: float
    p: float


@dataclasses.dataclass(frozen=True)
class Deals:
    """Random deals of pooled texts to a reference and a window, reproducible by seed.

    Attributes:
        reference: number of texts in the reference, the first of the pool.
        window: number of texts in the window, the rest of the pool.
        count: number of deals.
        seed: random seed.
    """

    reference: int
    window: int
    count: int
    seed: int

    def actual(self) -> Array:
        """Return the true deal: float32[1, texts], 1 for the window's texts."""
        return np.repeat(np.array([[0, 1]], np.float32), [self.reference, self.window], axis=1)

    def random(self) -> Iterable[Array]:
        """Return random deals in parts of float32[deals, texts]."""
        if self.count * (self.reference + self.window) > _KEPT_CELLS:
            return self._deal()
        return self._kept

    @functools.cached_property
    def _kept(self) -> "_Kept":
        """Deals shared by all tests."""
        return _Kept(self._deal())

    def _deal(self) -> Iterator[Array]:
        generator = np.random.default_rng(self.seed)
        texts = self.reference + self.window
        for start in range(0, self.count, _CHUNK):
            size = min(_CHUNK, self.count - start)
            order = np.argpartition(
                generator.random((size, texts), np.float32), self.window - 1, axis=1
            )
            dealt = np.zeros((size, texts), np.float32)
            np.put_along_axis(dealt, order[:, : self.window], 1.0, axis=1)
            yield dealt

    def test(self, statistic: Callable[[Array], Array]) -> Difference:
        """Run a permutation test of a statistic that grows with the difference.

        Where there is clearly no difference, it ends early, after ``_ENOUGH_WORSE`` deals that
        differ as much; the p-value stays exact (Besag and Clifford 1991, "Sequential Monte Carlo
        p-values").

        Args:
            statistic: float32[deals, texts] -> float[deals].
        """
        observed = float(statistic(self.actual())[0])
        # Rounding must not make an identical deal look smaller.
        limit = observed - 1e-6 * abs(observed)
        total, done, worse = 0.0, 0, 0
        for part in self.random():
            dealt = statistic(part)
            found = worse + np.cumsum(dealt >= limit)
            total, done, worse = total + float(dealt.sum()), done + len(dealt), int(found[-1])
            if worse >= _ENOUGH_WORSE:
                needed = done - len(dealt) + 1 + int(np.argmax(found >= _ENOUGH_WORSE))
                return Difference(observed - total / done, _ENOUGH_WORSE / needed)
        return Difference(observed - total / done, (1 + worse) / (1 + done))


class _Kept:
    """An iterator's items, computed when first needed and kept for later loops."""

    def __init__(self, source: Iterator[Array]) -> None:
        self._source, self._items = source, list[Array]()

    def __iter__(self) -> Iterator[Array]:
        yield from self._items
        for item in self._source:
            self._items.append(item)
            yield item


def kolmogorov_smirnov(reference: Array, window: Array) -> Difference:
    """Compare the distributions of a number by the largest distance of their functions, 0 to 1.

    The effect is that distance itself; the p-value is conservative for tied values.
    """
    from scipy import stats

    result = stats.ks_2samp(reference, window, method="asymp")
    return Difference(float(result.statistic), float(result.pvalue))


def share_distance(reference: Array, window: Array, deals: Deals) -> Difference:
    """Compare class shares by their total variation distance, 0 to 1.

    The test statistic is Pearson's chi-squared, which weighs a class by its rarity; permutation
    makes it valid for rare classes too. The effect is the distance, minus what chance adds to it.

    Args:
        reference: int[texts], the class of each text.
        window: int[texts], likewise.
        deals: deals of these texts.
    """
    pooled = np.concatenate([reference, window])
    classes, index = np.unique(pooled, return_inverse=True)
    member = np.eye(len(classes), dtype=np.float32)[index]
    totals = member.sum(0)
    expected = totals * deals.window / len(pooled)
    chi_squared = deals.test(
        lambda dealt: np.sum((dealt @ member - expected) ** 2 / expected, axis=1)
    )

    def distance(dealt: Array) -> Array:
        counts = dealt @ member
        window_share, reference_share = counts / deals.window, (totals - counts) / deals.reference
        return 0.5 * np.abs(window_share - reference_share).sum(axis=1)

    return Difference(deals.test(distance).effect, chi_squared.p)


def rate_increase(
    reference: tuple[Array, Array], window: tuple[Array, Array], deals: Deals
) -> Difference:
    """Compare rates; only a higher rate in the window counts as a difference.

    Args:
        reference: int[texts] events and int[texts] trials of each text.
        window: likewise.
        deals: deals of these texts.
    """
    events, trials = (
        np.concatenate([old, new]).astype(np.float32)
        for old, new in zip(reference, window, strict=True)
    )

    def increase(dealt: Array) -> Array:
        window_events, window_trials = (dealt @ np.stack([events, trials], axis=1)).T
        rate = window_events / np.maximum(window_trials, 1)
        return rate - (events.sum() - window_events) / np.maximum(trials.sum() - window_trials, 1)

    observed = float(increase(deals.actual())[0])
    return Difference(observed, deals.test(increase).p)


def jensen_shannon(reference: Array, window: Array, deals: Deals) -> Difference:
    """Compare mean distributions by Jensen-Shannon divergence, in bits, 0 to 1 (Lin 1991).

    Args:
        reference: float32[texts, buckets], the distribution of each text.
        window: likewise.
        deals: deals of these texts.
    """
    pooled = np.concatenate([reference, window])
    total = pooled.sum(0)

    def divergence(dealt: Array) -> Array:
        part = dealt @ pooled
        new, old = _distribution(part), _distribution(total - part)
        return _entropy((new + old) / 2) - (_entropy(new) + _entropy(old)) / 2

    return deals.test(divergence)


def maximum_mean_discrepancy(reference: Array, window: Array, deals: Deals) -> Difference:
    """Compare vectors by unbiased squared maximum mean discrepancy, 0 to 2 (Gretton et al. 2012).

    "A Kernel Two-Sample Test", JMLR 13, equation 3, with a Gaussian kernel whose width is the
    median distance of the pooled vectors.

    Args:
        reference: float32[texts, width].
        window: likewise.
        deals: deals of these texts.
    """
    kernel = _gaussian_kernel(np.concatenate([reference, window]))
    all_pairs, rows = float(kernel.sum()), kernel.sum(axis=1)
    n, m = deals.reference, deals.window

    def discrepancy(dealt: Array) -> Array:
        within_window = np.einsum("dt,dt->d", dealt @ kernel, dealt)
        between = dealt @ rows - within_window
        within_reference = all_pairs - within_window - 2 * between
        return (
            within_window / (m * (m - 1)) + within_reference / (n * (n - 1)) - 2 * between / (n * m)
        )

    return deals.test(discrepancy)


def _gaussian_kernel(vectors: Array) -> Array:
    """Return float32[texts, texts], 0 on the diagonal: a text is not compared with itself."""
    vectors = np.asarray(vectors, np.float32)
    vectors = vectors - vectors.mean(0)
    norms = np.einsum("ij,ij->i", vectors, vectors)
    squared = np.maximum(norms[:, np.newaxis] + norms - 2 * (vectors @ vectors.T), 0)
    width = float(np.median(squared))
    kernel = np.exp(-squared / (width or 1.0))
    np.fill_diagonal(kernel, 0)
    return kernel


def _distribution(counts: Array) -> Array:
    counts = np.maximum(counts, 0)  # rounding may make a difference of sums negative
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)


def _entropy(shares: Array) -> Array:
    """Return the entropy in bits, float[deals], of float[deals, buckets]."""
    return -np.sum(shares * np.log2(np.maximum(shares, 1e-12)), axis=1)
