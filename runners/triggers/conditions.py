"""Triggers: decide from measurements whether a run is wanted.

Pure; ``runners.triggers.sensors`` measures.
"""

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from serving.monitoring.check import DriftReport
    from serving.monitoring.quality import QualityReport


def schedule(expression: str, history: History, now: float) -> Signal:
    """Fire if a scheduled time has passed since the last run began.

    Times missed while no watcher ran count once. A new or changed schedule counts from the first
    poll that sees it.

    Args:
        expression: cron expression, in UTC.
        history: gives the last run's start, and since when the expression is known.
        now: seconds since 1970.
    """
    known = history.carried(SCHEDULE, "expression") == expression
    since = float(history.carried(SCHEDULE, "since")) if known else now
    begun = max(since, history.last.started) if history.last else since
    due = last_time(expression, now)
    details = {"expression": expression, "since": since}
    if due > begun:
        return Signal(SCHEDULE, True, f"{expression} was due at {clock(due)}", details)
    return Signal(SCHEDULE, False, f"{expression} is not due", details)


def feedback(usable: int, wanted: int) -> Signal:
    """Fire if there are enough new feedback examples."""
    sentence = f"{usable} new feedback examples, {wanted} start a run"
    details = {"usable": usable, "wanted": wanted}
    return Signal(FEEDBACK, usable >= wanted, sentence, details)


def accuracy(report: "QualityReport | None", drop: float) -> Signal:
    """Fire if even the upper end of the accuracy's interval is too far below the evaluation's.

    Args:
        report: None if there is too little feedback.
        drop: required drop in accuracy, 0 to 1.
    """
    name = ACCURACY
    if report is None or report.accuracy is None or report.interval is None:
        return Signal(name, False, "too little feedback to measure the accuracy")
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
        f"in the evaluation it was {expected:.3f}"
    )
    return Signal(name, upper <= expected - drop, sentence, details)


def drift(report: "DriftReport | None") -> Signal:
    """Fire if recent traffic differs from the held-out data.

    Args:
        report: None if there is too little traffic.
    """
    if report is None:
        return Signal(DRIFT, False, "too little traffic to detect drift")
    raised = {test.name: test.sentence for test in report.tests if test.raised}
    if not report.raised:
        return Signal(DRIFT, False, "recent traffic resembles the training data")
    return Signal(DRIFT, True, "; ".join(raised.values()), {"tests": list(raised)})


def new_data(
    fingerprint: Fingerprint, history: History, now: float, settle_seconds: float
) -> Signal:
    """Fire if the data files differ from those of the last run or, before any, the first poll.

    Args:
        fingerprint: fingerprint of the files.
        history: gives the fingerprint to compare with.
        now: seconds since 1970.
        settle_seconds: files that changed more recently than this may still be changing.
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
    """Fire if the last run failed: what started it still calls for a run."""
    failures = history.failures()
    if not history.last or not failures:
        return Signal(RETRY, False, "the last run did not fail")
    sentence = f"run {history.last.id} {history.last.state}; failures in a row: {failures}"
    return Signal(RETRY, True, sentence, {"failures": failures})
