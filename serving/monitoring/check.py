"""Drift detection: tests a window of traffic against the reference at one overall alarm rate.

After Rabanser, Guennemann and Lipton 2019, "Failing Loudly: An Empirical Study of Methods for
Detecting Dataset Shift": several views of the data, a two-sample test of each, and a bound on the
false alarms of all tests together. Here the bound is Holm's (1979), and the effect must also reach
a minimum size: with enough texts, the smallest difference is significant.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from serving.monitoring import two_sample
from serving.monitoring.descriptions import Descriptions
from serving.monitoring.two_sample import Deals, Difference

#: Minimum and maximum number of random deals of the permutation tests.
_FEWEST_DEALS, _MOST_DEALS = 2_000, 50_000
#: Deals per expected deal beyond the strictest limit.
_DEALS_PER_ALARM = 4
#: Maximum texts per side whose embeddings are compared; the work grows with their square.
_MOST_EMBEDDINGS = 2_000


@dataclasses.dataclass(frozen=True)
class Test:
    """A drift test, and the smallest effect that matters.

    Attributes:
        name: name of the test.
        subject: what is compared; the start of a sentence.
        threshold: smallest effect that raises the test.
        compare: the test itself.
        level: describes the reference or the window in a few words.
    """

    name: str
    subject: str
    threshold: float
    compare: Callable[[Descriptions, Descriptions, Deals], Difference]
    level: Callable[[Descriptions, Sequence[str]], str]


@dataclasses.dataclass(frozen=True)
class TestResult:
    """The result of one test of one window.

    Attributes:
        name: name of the test.
        reference: description of the held-out texts.
        window: description of the recent texts.
        statistic: size of the effect, in the test's unit.
        threshold: smallest effect that raises the test.
        p: probability of such a difference between texts of one source.
        p_limit: largest ``p`` that raises the test.
        raised: whether both conditions are met.
        sentence: the result in words.
    """

    name: str
    reference: str
    window: str
    statistic: float
    threshold: float
    p: float
    p_limit: float
    raised: bool
    sentence: str


@dataclasses.dataclass(frozen=True)
class DriftReport:
    """The results of all tests of one window.

    Attributes:
        raised: whether any test was raised.
        tests: the results, in the order of ``TESTS``.
        reference_texts: number of texts in the reference.
        window_texts: number of distinct texts in the window.
        false_alarm_rate: share of undrifted windows that may be raised.
        model_version: the version that described the texts.
        window_start: start of the traffic that was checked, in seconds since 1970.
        window_end: its end, in seconds since 1970.
    """

    raised: bool
    tests: tuple[TestResult, ...]
    reference_texts: int
    window_texts: int
    false_alarm_rate: float
    model_version: int | None = None
    window_start: float | None = None
    window_end: float | None = None

    @property
    def sentences(self) -> list[str]:
        """Sentences of the raised tests; without any, that there is no drift."""
        raised = [test.sentence for test in self.tests if test.raised]
        return raised or [f"no drift in {self.window_texts} texts"]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON types."""
        return dataclasses.asdict(self)


def check(
    reference: Descriptions,
    window: Descriptions,
    labels: Sequence[str],
    *,
    false_alarm_rate: float,
    seed: int = 0,
) -> DriftReport:
    """Compare a window with the reference. The same arguments give the same report.

    Args:
        reference: held-out texts, each once.
        window: recent texts, each once, described by the same model; 2 or more, as the reference.
        labels: the model's labels, in id order.
        false_alarm_rate: share of undrifted windows that may be raised, by all tests together.
        seed: seed of the random deals.
    """
    strictest = false_alarm_rate / len(TESTS)
    count = min(max(_FEWEST_DEALS, math.ceil(_DEALS_PER_ALARM / strictest)), _MOST_DEALS)
    deals = Deals(len(reference), len(window), count, seed)
    differences = [test.compare(reference, window, deals) for test in TESTS]
    limits = holm_limits([difference.p for difference in differences], false_alarm_rate)
    results = [
        _result(test, difference, limit, test.level(reference, labels), test.level(window, labels))
        for test, difference, limit in zip(TESTS, differences, limits, strict=True)
    ]
    return DriftReport(
        raised=any(result.raised for result in results),
        tests=tuple(results),
        reference_texts=len(reference),
        window_texts=len(window),
        false_alarm_rate=false_alarm_rate,
    )


def holm_limits(p_values: Sequence[float], rate: float) -> list[float]:
    """Return the limit of each p-value for an overall false-alarm rate of ``rate`` (Holm 1979).

    The smallest p-value must not exceed ``rate / tests``, the next ``rate / (tests - 1)``, and so
    on. After the first that fails, no other passes; the limit that failed applies to them all.
    """
    limits = [0.0] * len(p_values)
    failed: float | None = None
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        limit = rate / (len(p_values) - rank) if failed is None else failed
        limits[index] = limit
        if failed is None and p_values[index] > limit:
            failed = limit
    return limits


def _result(
    test: Test, difference: Difference, limit: float, reference: str, window: str
) -> TestResult:
    raised = difference.p <= limit and difference.effect >= test.threshold
    if raised:
        verdict = "drifted"
    elif difference.p > limit:
        verdict = "did not change significantly"
    else:
        verdict = "changed, but too little to matter"
    sentence = f"{test.subject} {verdict}: {reference} in held-out data, {window} in recent traffic"
    return TestResult(
        name=test.name,
        reference=reference,
        window=window,
        statistic=difference.effect,
        threshold=test.threshold,
        p=difference.p,
        p_limit=limit,
        raised=raised,
        sentence=sentence,
    )


def _compare_lengths(old: Descriptions, new: Descriptions, _: Deals) -> Difference:
    return two_sample.kolmogorov_smirnov(old.characters, new.characters)


def _compare_words(old: Descriptions, new: Descriptions, deals: Deals) -> Difference:
    return two_sample.jensen_shannon(old.words, new.words, deals)


def _compare_unknown(old: Descriptions, new: Descriptions, deals: Deals) -> Difference:
    return two_sample.rate_increase(
        (old.unknown_tokens, old.tokens), (new.unknown_tokens, new.tokens), deals
    )


def _compare_answers(old: Descriptions, new: Descriptions, deals: Deals) -> Difference:
    return two_sample.share_distance(old.answers, new.answers, deals)


def _compare_confidence(old: Descriptions, new: Descriptions, _: Deals) -> Difference:
    return two_sample.kolmogorov_smirnov(old.confidence, new.confidence)


def _compare_embeddings(old: Descriptions, new: Descriptions, deals: Deals) -> Difference:
    # The order of the rows is arbitrary, so the first ones are a fair sample.
    reference, window = (side.embeddings[:_MOST_EMBEDDINGS] for side in (old, new))
    if (len(reference), len(window)) != (deals.reference, deals.window):
        deals = dataclasses.replace(deals, reference=len(reference), window=len(window))
    return two_sample.maximum_mean_discrepancy(reference, window, deals)


def _median_length(texts: Descriptions, _: Sequence[str]) -> str:
    return f"median {np.median(texts.characters):,.0f} characters"


def _distinct_words(texts: Descriptions, _: Sequence[str]) -> str:
    return f"{np.mean(np.sum(texts.words > 0, axis=1)):.0f} distinct words per text"


def _unknown_share(texts: Descriptions, _: Sequence[str]) -> str:
    share = texts.unknown_tokens.sum() / max(int(texts.tokens.sum()), 1)
    return f"{share:.2%} of the tokens"


def _commonest_answers(texts: Descriptions, labels: Sequence[str]) -> str:
    shares = np.bincount(texts.answers, minlength=len(labels)) / len(texts)
    order = np.argsort(-shares, kind="stable")[:3]
    return ", ".join(f"{labels[index]} {shares[index]:.0%}" for index in order)


def _mean_confidence(texts: Descriptions, _: Sequence[str]) -> str:
    return f"mean {np.mean(texts.confidence):.3f}"


def _spread(texts: Descriptions, _: Sequence[str]) -> str:
    centre = texts.embeddings.mean(0)
    return f"spread {np.sqrt(np.mean(np.sum((texts.embeddings - centre) ** 2, axis=1))):.2f}"


#: All tests, with the smallest effect that raises each; docs/drift.md explains the numbers.
TESTS: Final = (
    Test("length", "the length of texts", 0.1, _compare_lengths, _median_length),
    Test("vocabulary", "the vocabulary of texts", 0.002, _compare_words, _distinct_words),
    Test("unknown", "the share of unknown tokens", 0.005, _compare_unknown, _unknown_share),
    Test("classes", "the mix of predicted labels", 0.05, _compare_answers, _commonest_answers),
    Test("embeddings", "the embeddings of texts", 0.005, _compare_embeddings, _spread),
    Test("confidence", "the model's confidence", 0.1, _compare_confidence, _mean_confidence),
)
