"""Outputs of a run's Evaluator, Pusher and Tuner."""

import json
from pathlib import Path
from typing import Any

from runners.lineage.records import EvaluationRecord, Push, Run, TrialRecord

_DECISION_FILE = "decision.json"
_METRICS_FILE = "metrics.json"


def read_evaluation(run: Run) -> EvaluationRecord | None:
    """Read the run's evaluation; None if it has none."""
    artifact = run.artifact("Evaluator", "ModelEvaluation")
    if artifact is None:
        return None
    return read_evaluation_folder(Path(artifact.uri))


def read_evaluation_folder(folder: Path) -> EvaluationRecord:
    """Read the folder of a ``ModelEvaluation``; files that do not exist read as empty."""
    return EvaluationRecord(_read(folder / _DECISION_FILE), _read(folder / _METRICS_FILE))


def read_push(run: Run) -> Push | None:
    """Read what the run's Pusher did; None if it did not run or failed."""
    node = run.node("Pusher")
    artifact = run.artifact("Pusher", "PushedModel")
    if node is None or artifact is None or node.state not in ("ran", "cached"):
        return None
    pushed = bool(artifact.properties.get("pushed"))
    return Push(
        pushed=pushed,
        version=str(artifact.properties.get("pushed_version") or "") if pushed else "",
        directory=str(artifact.properties.get("pushed_destination") or "") if pushed else "",
        cached=node.state == "cached",
        reason=str(artifact.properties.get("outcome") or ""),
    )


def _read(path: Path) -> Any:
    """Read a JSON file; return an empty object if it does not exist or is incomplete."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


_RESULTS_FILE = "tuner_results.json"
_NOT_TUNED = ("trial_id", "score")
#: Prefix of Hyperband's own values.
_KEPT_BY_HYPERBAND = "tuner/"


def read_trials(run: Run) -> list[TrialRecord]:
    """Read the trials of the run's Tuner, the best first; none if it has no Tuner."""
    artifact = run.artifact("Tuner", "TunerResults")
    if artifact is None:
        return []
    return [
        TrialRecord(
            score=float(trial["score"]),
            values={
                name: trial[name]
                for name in sorted(trial)
                if name not in _NOT_TUNED and not name.startswith(_KEPT_BY_HYPERBAND)
            },
        )
        for trial in _read(Path(artifact.uri) / _RESULTS_FILE)
    ]
