"""Reads what the Evaluator and the Pusher left behind in a run."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from runners.lineage.runs import Run

_DECISION_FILE = "decision.json"
_METRICS_FILE = "metrics.json"
_OVERALL = ""


@dataclasses.dataclass(frozen=True)
class MetricRow:
    """One metric on one slice, for both models.

    Attributes:
        slice: name of the slice; "" is the whole test split.
        metric: its name.
        examples: how many examples the slice holds.
        candidate: the new model's value; None where it is not defined.
        baseline: the pushed model's; None without a baseline.
    """

    slice: str
    metric: str
    examples: int | None
    candidate: float | None
    baseline: float | None

    @property
    def change(self) -> float | None:
        """Candidate minus baseline."""
        if self.candidate is None or self.baseline is None:
            return None
        return self.candidate - self.baseline


@dataclasses.dataclass(frozen=True)
class EvaluationRecord:
    """The Evaluator's files; what an older run did not write is empty.

    Attributes:
        decision: content of ``decision.json``.
        metrics: content of ``metrics.json``.
    """

    decision: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def metric(self) -> str:
        """The metric that decides."""
        return str(self.decision.get("metric", ""))

    @property
    def candidate(self) -> float | None:
        """The candidate's value of the metric that decides."""
        return self.decision.get("candidate")

    @property
    def blessed(self) -> bool | None:
        """Whether the candidate may be pushed; None when that is not on record."""
        return self.decision.get("blessed")

    @property
    def sentences(self) -> list[str]:
        """What was compared, on how much, how sure, why (not)."""
        return [str(sentence) for sentence in self.decision.get("sentences", ())]

    def overall(self) -> list[MetricRow]:
        """Every metric on the whole test split."""
        names = _metric_names(self._slices("candidate").get(_OVERALL, {}))
        return [self._row(_OVERALL, name) for name in names]

    def by_slice(self) -> list[MetricRow]:
        """The deciding metric on every slice, the whole test split first."""
        names = sorted(self._slices("candidate"), key=_natural)
        return [self._row(name, self.metric) for name in names]

    def _row(self, name: str, metric: str) -> MetricRow:
        candidate = self._slices("candidate").get(name, {})
        baseline = self._slices("baseline").get(name, {})
        return MetricRow(
            slice=name,
            metric=metric,
            examples=candidate.get("examples"),
            candidate=candidate.get(metric),
            baseline=baseline.get(metric),
        )

    def _slices(self, model: str) -> dict[str, dict[str, Any]]:
        return dict(self.metrics.get("models", {}).get(model, {}).get("slices", {}))


@dataclasses.dataclass(frozen=True)
class Push:
    """What the Pusher did.

    Attributes:
        pushed: whether this run has a model in the push directory.
        version: its version number; "" when none was pushed.
        directory: the version's folder; "" when none was pushed.
        cached: the push is an earlier run's; nothing was pushed again.
        reason: the Pusher's own words.
    """

    pushed: bool
    version: str
    directory: str
    cached: bool
    reason: str = ""


def read_evaluation(run: Run) -> EvaluationRecord | None:
    """The run's evaluation; None when it has none."""
    artifact = run.artifact("Evaluator", "ModelEvaluation")
    if artifact is None:
        return None
    return read_evaluation_folder(Path(artifact.uri))


def read_evaluation_folder(folder: Path) -> EvaluationRecord:
    """What lies in the folder of a ``ModelEvaluation``."""
    return EvaluationRecord(_read(folder / _DECISION_FILE), _read(folder / _METRICS_FILE))


def read_push(run: Run) -> Push | None:
    """What the run's Pusher did; None when it did not get so far."""
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


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts "length=17-64" before "length=257+"."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


def _metric_names(values: dict[str, Any]) -> list[str]:
    return [
        name
        for name, value in values.items()
        if name != "examples" and (value is None or isinstance(value, float | int))
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (FileNotFoundError, ValueError):
        return {}


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
