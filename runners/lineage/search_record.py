"""Reads what the Tuner left behind in a run: its trials, the best first."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from runners.lineage.runs import Run

_RESULTS_FILE = "tuner_results.json"
_NOT_TUNED = ("trial_id", "score")
#: Hyperband's own bookkeeping begins so.
_KEPT_BY_HYPERBAND = "tuner/"


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """A trial that finished.

    Attributes:
        score: the objective.
        values: hyper-parameter -> what was tried.
    """

    score: float
    values: dict[str, Any]

    def described(self) -> str:
        """The values in words: ``batch_size 32, learning_rate 1.093e-05``."""
        return ", ".join(f"{name} {number(value)}" for name, value in self.values.items())


def read_trials(run: Run) -> list[TrialRecord]:
    """The trials of the run's Tuner, the best first; none where it has no Tuner."""
    artifact = run.artifact("Tuner", "TunerResults")
    if artifact is None:
        return []
    try:
        found = json.loads((Path(artifact.uri) / _RESULTS_FILE).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
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
        for trial in found
    ]


def number(value: Any) -> str:
    """A hyper-parameter's value in four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
