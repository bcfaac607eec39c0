"""Reports of runs: a run with the results of its nodes."""

import json

from components.ingestion.quarantine import QUARANTINE_FOLDER
from components.ingestion.resolution import RowOutcome
from pipeline.config import Config
from runners.lineage.evaluation import read_evaluation, read_push, read_trials
from runners.lineage.records import Artifact, FeedbackRows, QuarantinedRows, Run, RunReport
from runners.lineage.runs import read_run, read_runs


def read_report(config: Config, run_id: str | None = None) -> RunReport:
    """Read one run in full.

    Args:
        config: gives the pipeline and its metadata.
        run_id: the run's id, or its beginning; None is the last run.

    Raises:
        UserError: the run does not exist, or several ids begin like that.
    """
    return _report(read_run(config, run_id))


def read_reports(config: Config, *, last: int) -> list[RunReport]:
    """Read evaluation and push of the last runs, the newest first.

    Args:
        config: gives the pipeline and its metadata.
        last: number of runs.

    Raises:
        NothingRanError: nothing has run yet.
    """
    runs = read_runs(config, with_outputs=["Evaluator", "Pusher"])
    return [_report(run) for run in runs[:last]]


def _report(run: Run) -> RunReport:
    examples = run.artifact("ExampleGen", "Examples")
    return RunReport(
        run=run,
        evaluation=read_evaluation(run),
        push=read_push(run),
        trials=read_trials(run),
        quarantined=_quarantined(examples) if examples else None,
        feedback=_feedback(examples) if examples else None,
    )


def _quarantined(examples: Artifact) -> QuarantinedRows | None:
    count = int(examples.properties.get("quarantined") or 0)
    if not count:
        return None
    feedback = _feedback_counts(examples)
    rows = count + int(examples.properties.get("examples") or 0)
    rows += sum(feedback.values()) - feedback.get(RowOutcome.ADDED, 0)
    reasons = json.loads(examples.properties.get("quarantine_reasons") or "{}")
    return QuarantinedRows(count, rows, reasons, f"{examples.uri}/{QUARANTINE_FOLDER}")


def _feedback(examples: Artifact) -> FeedbackRows | None:
    counts = _feedback_counts(examples)
    if not counts:
        return None
    return FeedbackRows(json.loads(examples.properties.get("feedback_spans") or "[]"), counts)


def _feedback_counts(examples: Artifact) -> dict[str, int]:
    return json.loads(examples.properties.get("feedback_counts") or "{}")
