"""Output of ``bert drift``: drift tests of recent traffic, and its accuracy."""

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Column, Table
from rich.text import Text

from cli.terminal import plain_table, print_json, stdout

if TYPE_CHECKING:
    from pipeline.sections.freshness import DriftSection
    from serving.monitoring.check import DriftReport
    from serving.monitoring.quality import Interval, QualityReport

#: Smaller p-values are printed as "<0.0001".
_LEAST_SHOWN = 0.0001


def print_drift(
    report: "DriftReport | None",
    quality: "QualityReport",
    settings: "DriftSection",
    *,
    as_json: bool,
) -> None:
    """Print both reports.

    Args:
        report: None if there was too little traffic.
        quality: accuracy in the same window.
        settings: thresholds, including the minimum traffic.
        as_json: print one JSON object instead of tables.
    """
    if as_json:
        record = {
            "raised": None if report is None else report.raised,
            "drift": None if report is None else report.to_dict(),
            "quality": quality.to_dict(),
        }
        print_json(record)
        return
    console = stdout()
    console.print(f"{_window(quality)}\n", soft_wrap=True)
    if report is None:
        console.print(
            f"Too little traffic: fewer than {settings.min_texts} different texts in the window "
            "(drift.min_texts, drift.window_hours).",
            soft_wrap=True,
        )
    else:
        console.print(_tests_table(report))
        console.print()
        for line in _verdict(report):
            console.print(line, soft_wrap=True)
    console.print()
    for line in _quality_lines(quality):
        console.print(line, soft_wrap=True)


def _window(quality: "QualityReport") -> str:
    start, end = (
        datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d %H:%M")
        for moment in (quality.window_start, quality.window_end)
    )
    version = "no version" if quality.model_version is None else f"version {quality.model_version}"
    return f"{version}, traffic from {start} to {end} UTC"


def _tests_table(report: "DriftReport") -> Table:
    names = ("effect", "effect needed", "p", "p needed")
    figures = [Column(name, justify="right", no_wrap=True) for name in names]
    table = plain_table("test", "held-out data", "recent traffic", *figures, "drift")
    for test in report.tests:
        table.add_row(
            test.name,
            test.reference,
            test.window,
            f"{test.statistic:.4f}",
            f"{test.threshold:.4f}",
            f"{test.p:.4f}" if test.p >= _LEAST_SHOWN else f"<{_LEAST_SHOWN}",
            f"{test.p_limit:.4f}",
            Text("yes", "bold red") if test.raised else Text("no"),
        )
    return table


def _verdict(report: "DriftReport") -> Iterator[str]:
    for test in report.tests:
        yield f"{'! ' if test.raised else '  '}{test.sentence}"
    verdict = "Drift detected" if report.raised else "No drift detected"
    yield ""
    yield (
        f"{verdict}: {report.window_texts} different texts against {report.reference_texts} "
        f"held-out ones, at a false-alarm rate of {report.false_alarm_rate:.2%} over all tests."
    )


def _quality_lines(quality: "QualityReport") -> Iterator[str]:
    sure = f"{quality.confidence:.0%} interval"
    if quality.accuracy is not None and quality.macro_f1 is not None:
        yield (
            f"accuracy {quality.accuracy:.4f} ({sure} {_between(quality.interval)}), macro F1 "
            f"{quality.macro_f1:.4f} ({_between(quality.macro_f1_interval)}), on {quality.n} "
            f"prediction{'' if quality.n == 1 else 's'} with feedback"
        )
    if quality.estimated_accuracy is not None:
        yield (
            f"accuracy {quality.estimated_accuracy:.4f} ({sure} "
            f"{_between(quality.estimated_interval)}) is estimated from the confidence in "
            f"{quality.estimated_from} unlabelled texts; under drift such estimates are too high"
        )
    if quality.evaluation_accuracy is not None:
        yield f"accuracy {quality.evaluation_accuracy:.4f} on the test split before the push"
    yield from quality.notes


def _between(interval: "Interval | None") -> str:
    return "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"
