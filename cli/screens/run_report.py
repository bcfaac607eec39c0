"""Output of ``bert runs`` and ``bert show``, and the result that ``bert run`` prints."""

import dataclasses
import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli.screens.run_progress import STYLES, nodes_table
from cli.terminal import duration, local_time, plain_table, print_json, stdout
from components.ingestion.resolution import MEANINGS
from runners.lineage.records import (
    EvaluationRecord,
    FeedbackRows,
    MetricRow,
    Push,
    QuarantinedRows,
    RunReport,
    TrialRecord,
    number,
)

#: Sections of the config that say where runs and models are.
_PLACES = ("metadata.", "pipeline.", "pusher.", "schema.")


def print_runs(reports: Sequence[RunReport], *, as_json: bool) -> None:
    """Print runs as a table, or as JSON.

    Args:
        reports: in the order in which they are printed.
        as_json: print one array of objects.
    """
    if as_json:
        print_json([_summary(report) for report in reports])
        return
    time = Column("time", justify="right")
    table = plain_table("run", "started", "state", "metric", "decision", time)
    for report in reports:
        summary, run = _summary(report), report.run
        value = "" if summary["value"] is None else f"{summary['metric']} {summary['value']:.4f}"
        table.add_row(
            run.run_id,
            local_time(run.started),
            Text(run.state, STYLES.get(run.state, "")),
            value,
            str(summary["decision"]),
            duration(run.seconds),
        )
    stdout().print(table)


def print_run(report: RunReport, *, as_json: bool) -> None:
    """Print one run in full.

    Args:
        report: report to print.
        as_json: print one JSON object.
    """
    run, evaluation = report.run, report.evaluation
    if as_json:
        record = {
            **_summary(report),
            "nodes": [dataclasses.asdict(node) for node in run.nodes],
            "decision_record": evaluation.decision if evaluation else None,
            "metrics": evaluation.metrics if evaluation else None,
        }
        print_json(record)
        return
    console = stdout()
    console.print(f"run {run.run_id}, {local_time(run.started)}, {run.state}\n", soft_wrap=True)
    console.print(nodes_table(run.nodes))
    print_result(console, report, slices=True)
    console.print("\nartifacts")
    for node in run.nodes:
        for key, artifacts in node.outputs.items():
            for artifact in artifacts:
                console.print(f"  {node.name}.{key}: {artifact.uri}", soft_wrap=True)


def print_result(console: Console, report: RunReport, *, slices: bool) -> None:
    """Print the metrics against the baseline, the decision, and what was pushed.

    Args:
        console: console to print on.
        report: report to print.
        slices: also print the deciding metric by slice, and the Tuner's trials.
    """
    if report.quarantined:
        console.print(f"\n{describe_quarantine(report.quarantined)}", soft_wrap=True)
    if report.feedback:
        console.print(f"\n{describe_feedback(report.feedback)}", soft_wrap=True)
    if report.trials:
        console.print(f"\n{describe_search(report.trials)}", soft_wrap=True)
        if slices:
            console.print(_trials_table(report.trials))
    if report.evaluation:
        _print_evaluation(console, report.evaluation, slices=slices)
    for failed in (node for node in report.run.nodes if node.error):
        console.print(f"{failed.name} failed: {failed.error}", soft_wrap=True)
    if report.infra_validation:
        console.print(f"InfraValidator: {report.infra_validation}", soft_wrap=True)
    if report.run.node("Pusher"):
        console.print(describe_push(report.push, rejected=report.rejected), soft_wrap=True)


def _print_evaluation(console: Console, evaluation: EvaluationRecord, *, slices: bool) -> None:
    if rows := evaluation.overall():
        console.print()
        console.print(_metrics_table(rows, by="metric"))
    if slices and (rows := evaluation.by_slice()):
        console.print()
        console.print(_metrics_table(rows, by="slice"))
    console.print()
    for sentence in evaluation.sentences:
        console.print(sentence, soft_wrap=True)


def describe_quarantine(quarantined: QuarantinedRows) -> str:
    """Return one line about the quarantined rows."""
    words = ", ".join(f"{reason} {count}" for reason, count in quarantined.reasons.items())
    return (
        f"{quarantined.count} of {quarantined.rows} rows are quarantined ({words}): "
        f"{quarantined.folder}"
    )


def describe_feedback(feedback: FeedbackRows) -> str:
    """Return one line about the rows of the feedback spans."""
    spans = feedback.spans
    numbers = f"span {spans[0]}" if len(spans) == 1 else f"{len(spans)} spans"
    words = ", ".join(
        f"{feedback.counts[outcome]} {meaning}"
        for outcome, meaning in MEANINGS.items()
        if feedback.counts.get(outcome)
    )
    rows = sum(feedback.counts.values())
    return f"{rows} {'row' if rows == 1 else 'rows'} of feedback ({numbers}): {words}"


def describe_search(trials: Sequence[TrialRecord]) -> str:
    """Return one line about the Tuner's trials, of which there is at least one."""
    count = "1 trial" if len(trials) == 1 else f"{len(trials)} trials"
    best = trials[0]
    return f"Tuner: {count}, the best scores {best.score:.4f} with {best.described()}"


def describe_push(push: Push | None, *, rejected: bool) -> str:
    """Return one line: whether and where the model was pushed.

    Args:
        push: result of the Pusher; None if it failed.
        rejected: whether the Evaluator rejected the candidate; its sentences say why.
    """
    if rejected and not (push and push.pushed):
        return "Not pushed: the candidate is rejected."
    if push is None or not push.pushed:
        return f"Not pushed: {push.reason}." if push and push.reason else "Not pushed."
    if push.cached:
        return f"Not pushed again: version {push.version} is up to date, {push.directory}"
    return f"Pushed as version {push.version}: {push.directory}"


def next_commands(
    config: str | None,
    assignments: Sequence[str],
    *,
    served_directory: str | None,
    program: str = "bert",
) -> list[str]:
    """Return the two commands that are most likely to be typed next.

    Args:
        config: ``--config``; the next commands need it too.
        assignments: ``--set``; those of the places of runs and models are repeated.
        served_directory: the push directory if it holds a model, from this run or an earlier one;
            else None.
        program: what to type for ``bert``.
    """
    places = [word for word in assignments if word.startswith(_PLACES)]
    words = [*(["--config", config] if config else [])]
    words += [part for place in places for part in ("--set", place)]
    options = "".join(f" {shlex.quote(word)}" for word in words)
    wanted = {"show": "", "runs": ""}
    if served_directory:
        wanted = {"serve": "", "predict": ' "A text to classify."'}
    return [f"{program} {name}{options}{rest}" for name, rest in wanted.items()]


def _summary(report: RunReport) -> dict[str, object]:
    run, evaluation = report.run, report.evaluation
    return {
        "run_id": run.run_id,
        "started": local_time(run.started),
        "seconds": round(run.seconds, 3),
        "state": run.state,
        "metric": evaluation.metric if evaluation else "",
        "value": evaluation.candidate if evaluation else None,
        "decision": _decision(report.push, evaluation),
    }


def _decision(push: Push | None, evaluation: EvaluationRecord | None) -> str:
    if push and push.pushed:
        return f"version {push.version} " + ("up to date" if push.cached else "pushed")
    if evaluation is None or evaluation.blessed is None:
        return ""
    return "blessed, not pushed" if evaluation.blessed else "rejected"


def _trials_table(trials: Sequence[TrialRecord]) -> Table:
    names = list(trials[0].values)
    table = plain_table(*(Column(name, justify="right") for name in ("score", *names)))
    for trial in trials:
        values = (number(trial.values.get(name, "")) for name in names)
        table.add_row(f"{trial.score:.4f}", *values)
    return table


def _metrics_table(rows: Sequence[MetricRow], by: str) -> Table:
    title = "metric" if by == "metric" else f"{rows[0].metric} on"
    figures = ("examples", "candidate", "baseline", "change")
    table = plain_table(title, *(Column(name, justify="right") for name in figures))
    for row in rows:
        name = row.metric if by == "metric" else row.slice or "all"
        change = "" if row.change is None else f"{row.change:+.4f}"
        examples = "" if row.examples is None else str(row.examples)
        table.add_row(Text(name), examples, _number(row.candidate), _number(row.baseline), change)
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
