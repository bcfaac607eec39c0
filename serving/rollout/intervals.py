"""Confidence intervals of proportions. Pure."""

import math


def lower_bound(count: int, total: int, confidence: float) -> float:
    """Return the one-sided exact lower bound of a proportion.

    C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the
    case of the binomial", Biometrika 26 (1934). 1 of 3 at 0.999 gives 0.0003.

    Args:
        count: number of events.
        total: number of trials.
        confidence: confidence level, 0 to 1.
    """
    if count == 0:
        return 0.0
    from scipy.stats import binomtest

    test = binomtest(count, total, alternative="greater")
    return float(test.proportion_ci(confidence, "exact").low)


def wilson(count: int, total: int, confidence: float) -> tuple[float, float]:
    """Return the two-sided interval of a proportion.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
    (1927).

    Args:
        count: number of events.
        total: number of trials; at least 1.
        confidence: confidence level, 0 to 1.
    """
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(confidence, "wilson")
    return float(interval.low), float(interval.high)


def difference(
    first: tuple[int, int], second: tuple[int, int], confidence: float
) -> tuple[float, float]:
    """Return the two-sided interval of the first proportion minus the second.

    Method 10 of R. G. Newcombe, "Interval estimation for the difference between independent
    proportions: comparison of eleven methods", Statistics in Medicine 17 (1998). Predictions of two
    models for the same texts are correlated, which makes the true interval narrower: for such pairs
    this one errs towards waiting.

    Args:
        first: count and total, which is at least 1.
        second: likewise.
        confidence: confidence level, 0 to 1.
    """
    shares = first[0] / first[1], second[0] / second[1]
    low1, high1 = wilson(*first, confidence)
    low2, high2 = wilson(*second, confidence)
    middle = shares[0] - shares[1]
    return (
        middle - math.hypot(shares[0] - low1, high2 - shares[1]),
        middle + math.hypot(high1 - shares[0], shares[1] - low2),
    )
