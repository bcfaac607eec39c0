"""Records of runs: what ran, what it measured, what became of the model. No reader is in here."""

import dataclasses
import re
from typing import Any

_OVERALL = ""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """One output of a component.

    Attributes:
        type: TFX's artifact type, e.g. "Model".
        uri: where it lies.
        properties: properties and custom properties, by name.
    """

    type: str
    uri: str
    properties: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class NodeRun:
    """One component in one run.

    Attributes:
        name: the component's id.
        state: "ran", "cached", "failed" or "unfinished".
        started: seconds since the epoch.
        seconds: how long it took.
        outputs: output key -> artifacts.
        error: why it failed; "" otherwise.
        parameters: what it was given beside its inputs, TFX's execution properties.
    """

    name: str
    state: str
    started: float
    seconds: float
    outputs: dict[str, list[Artifact]]
    error: str = ""
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Run:
    """One pipeline run; ``nodes`` are in the order in which they started."""

    run_id: str
    nodes: tuple[NodeRun, ...]

    @property
    def started(self) -> float:
        """Seconds since the epoch."""
        return min(node.started for node in self.nodes)

    @property
    def seconds(self) -> float:
        """From the first component's start to the last one's end."""
        return max(node.started + node.seconds for node in self.nodes) - self.started

    @property
    def state(self) -> str:
        """One of "succeeded", "partial" (stopped before the Pusher), "failed" or "unfinished"."""
        states = {node.state for node in self.nodes}
        for state in ("failed", "unfinished"):
            if state in states:
                return state
        return "succeeded" if self.node("Pusher") else "partial"

    def node(self, name: str) -> NodeRun | None:
        """The component of that id, when it took part."""
        return next((node for node in self.nodes if node.name == name), None)

    def artifact(self, node: str, artifact_type: str) -> Artifact | None:
        """The component's last output of a type."""
        found = self.node(node)
        outputs = found.outputs.values() if found else ()
        matching = [
            artifact
            for artifacts in outputs
            for artifact in artifacts
            if artifact.type == artifact_type
        ]
        return matching[-1] if matching else None


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


def number(value: Any) -> str:
    """A hyper-parameter's value in four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclasses.dataclass(frozen=True)
class QuarantinedRows:
    """Rows of the data that ExampleGen set aside.

    Attributes:
        count: how many.
        rows: how many rows were read, these among them.
        reasons: count by reason.
        folder: where they are kept.
    """

    count: int
    rows: int
    reasons: dict[str, int]
    folder: str


@dataclasses.dataclass(frozen=True)
class FeedbackRows:
    """Rows of the feedback spans that ExampleGen read.

    Attributes:
        spans: numbers of the spans.
        counts: rows by ``components.ingestion.resolution.RowOutcome``.
    """

    spans: list[int]
    counts: dict[str, int]


@dataclasses.dataclass(frozen=True)
class RunReport:
    """A run and all that its components left behind.

    Attributes:
        run: with its outputs.
        evaluation: None when the run has none.
        push: None when the Pusher did not run or failed.
        trials: of the Tuner, the best first.
        quarantined: None when every row was an example.
        feedback: None when no span was read.
    """

    run: Run
    evaluation: EvaluationRecord | None
    push: Push | None
    trials: list[TrialRecord]
    quarantined: QuarantinedRows | None
    feedback: FeedbackRows | None

    @property
    def rejected(self) -> bool:
        """Whether the Evaluator rejected the candidate."""
        return self.evaluation is not None and self.evaluation.blessed is False

    @property
    def infra_validation(self) -> str:
        """The InfraValidator's outcome in words; "" without one."""
        blessing = self.run.artifact("InfraValidator", "InfraBlessing")
        return str(blessing.properties.get("outcome") or "") if blessing else ""
