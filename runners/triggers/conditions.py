"""The triggers: from what was measured to whether it asks for a run.

Pure; who measures is ``runners.triggers.sensors``.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from pipeline.schedule import last_time
from runners.triggers.data_fingerprint import Fingerprint
from runners.triggers.history import (
    ACCURACY,
    DRIFT,
    FEEDBACK,
    NEW_DATA,
    RETRY,
    SCHEDULE,
    History,
    Signal,
    clock,
)


class QualityMeasure(Protocol):
    """What ``runners.freshness.monitoring.quality_report`` tells, as far as it matters here."""

    @property
    def accuracy(self) -> float | None:
        """On feedback."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Around it."""

    @property
    def evaluation_accuracy(self) -> float | None:
        """When the deployed model was evaluated."""


def schedule(expression: str, history: History, now: float) -> Signal:
    """The schedule: a time has passed since the last run began.

    Times that passed while nobody watched count once. A schedule that is new, or was changed,
    counts from the first poll that sees it.

    Args:
        expression: cron, in UTC.
        history: when the last run began, and since when the expression is known.
        now: seconds since 1970.
    """
    known = history.carried(SCHEDULE, "expression") == expression
    since = float(history.carried(SCHEDULE, "since")) if known else now
    begun = max(since, history.last.started) if history.last else since
    due = last_time(expression, now)
    details = {"expression": expression, "since": since}
    if due > begun:
        return Signal(SCHEDULE, True, f"{expression} was due {clock(due)}", details)
    return Signal(SCHEDULE, False, f"{expression} is not due", details)


def feedback(usable: int, wanted: int) -> Signal:
    """Feedback volume: enough new examples have come together."""
    sentence = f"{usable} new feedback examples, {wanted} start a run"
    details = {"usable": usable, "wanted": wanted}
    return Signal(FEEDBACK, usable >= wanted, sentence, details)


def accuracy(report: QualityMeasure | None, drop: float) -> Signal:
    """Accuracy drop: even the upper end of the interval is too far below the evaluation's.

    Args:
        report: None when too little feedback has come.
        drop: in accuracy, 0 to 1.
    """
    name = ACCURACY
    if report is None or report.accuracy is None or report.interval is None:
        return Signal(name, False, "too little feedback to tell the accuracy")
    if report.evaluation_accuracy is None:
        return Signal(name, False, "the deployed model has no evaluation to compare with")
    upper, expected = report.interval[1], report.evaluation_accuracy
    details = {
        "accuracy": report.accuracy,
        "interval": list(report.interval),
        "evaluation_accuracy": expected,
        "drop": drop,
    }
    sentence = (
        f"accuracy on feedback is {report.accuracy:.3f}, at most {upper:.3f}; "
        f"the evaluation's was {expected:.3f}"
    )
    return Signal(name, upper <= expected - drop, sentence, details)


class DriftMeasure(Protocol):
    """What ``runners.freshness.monitoring.drift_report`` tells, as far as it matters here."""

    @property
    def raised(self) -> bool:
        """Whether any test was."""

    @property
    def tests(self) -> Sequence[Any]:
        """With ``name``, ``raised``, ``sentence`` each."""


def drift(report: DriftMeasure | None) -> Signal:
    """Drift: recent traffic is unlike the training data.

    Args:
        report: None when too little traffic has come.
    """
    if report is None:
        return Signal(DRIFT, False, "too little traffic to tell drift")
    raised = {test.name: test.sentence for test in report.tests if test.raised}
    if not report.raised:
        return Signal(DRIFT, False, "recent traffic is like the training data")
    return Signal(DRIFT, True, "; ".join(raised.values()), {"tests": list(raised)})


def new_data(
    fingerprint: Fingerprint, history: History, now: float, settle_seconds: float
) -> Signal:
    """New data: the files are others than at the last run, or else at the first poll.

    Args:
        fingerprint: of the files.
        history: what they were.
        now: seconds since 1970.
        settle_seconds: files that changed more recently may still be in the making.
    """
    used = (run.details.get("data") for run in history.runs)
    baseline = next((data for data in used if data), history.carried(NEW_DATA, "baseline"))
    digest = fingerprint.digest
    details = {"baseline": baseline or digest, "digest": digest, "stat": fingerprint.stat}
    if digest == (baseline or digest):
        return Signal(NEW_DATA, False, "the data files are the same", details)
    if 0 <= now - fingerprint.changed < settle_seconds:
        return Signal(NEW_DATA, False, "the data files are still changing", details)
    return Signal(NEW_DATA, True, "the data files have changed", details)


def retry(history: History) -> Signal:
    """The last run failed: what started it still waits for an answer."""
    failures = history.failures()
    if not history.last or not failures:
        return Signal(RETRY, False, "the last run did not fail")
    sentence = f"run {history.last.id} {history.last.state}, {failures} in a row"
    return Signal(RETRY, True, sentence, {"failures": failures})
