"""Records of runs: nodes, artifacts, evaluation and push. Other modules read them."""

import dataclasses
import re
from typing import Any

_OVERALL = ""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """One output of a component.

    Attributes:
        type: TFX's artifact type, e.g. "Model".
        uri: its location.
        properties: properties and custom properties, by name.
    """

    type: str
    uri: str
    properties: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class NodeRun:
    """One node of a run.

    Attributes:
        name: the node's id.
        state: "ran", "cached", "failed" or "unfinished".
        started: seconds since 1970.
        seconds: duration.
        outputs: output key -> artifacts.
        error: why it failed; "" otherwise.
        parameters: its parameters, TFX's execution properties.
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
        """Start of the first node, seconds since 1970."""
        return min(node.started for node in self.nodes)

    @property
    def seconds(self) -> float:
        """Duration from the first node's start to the last one's end."""
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
        """Return the node with that id; None if the run has none."""
        return next((node for node in self.nodes if node.name == name), None)

    def artifact(self, node: str, artifact_type: str) -> Artifact | None:
        """Return a node's last output of a type, or None."""
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
        metric: name of the metric.
        examples: number of examples in the slice.
        candidate: the candidate's value; None if it is undefined.
        baseline: the baseline's value; None without a baseline.
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
    """The Evaluator's files. Values that an older run did not write are empty.

    Attributes:
        decision: content of ``decision.json``.
        metrics: content of ``metrics.json``.
    """

    decision: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def metric(self) -> str:
        """Name of the deciding metric."""
        return str(self.decision.get("metric", ""))

    @property
    def candidate(self) -> float | None:
        """The candidate's value of the deciding metric."""
        return self.decision.get("candidate")

    @property
    def blessed(self) -> bool | None:
        """Whether the candidate may be pushed; None if that is not recorded."""
        return self.decision.get("blessed")

    @property
    def sentences(self) -> list[str]:
        """The decision in sentences: the comparison, the examples, the confidence, the reasons."""
        return [str(sentence) for sentence in self.decision.get("sentences", ())]

    def overall(self) -> list[MetricRow]:
        """Return every metric on the whole test split."""
        names = _metric_names(self._slices("candidate").get(_OVERALL, {}))
        return [self._row(_OVERALL, name) for name in names]

    def by_slice(self) -> list[MetricRow]:
        """Return the deciding metric on every slice, the whole test split first."""
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
    """Result of the Pusher.

    Attributes:
        pushed: whether this run's model is in the push directory.
        version: its version number; "" if it was not pushed.
        directory: the version's folder; "" if it was not pushed.
        cached: whether an earlier run pushed it, and nothing was pushed again.
        reason: the Pusher's explanation.
    """

    pushed: bool
    version: str
    directory: str
    cached: bool
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """A finished trial.

    Attributes:
        score: value of the objective.
        values: hyper-parameter -> value.
    """

    score: float
    values: dict[str, Any]

    def described(self) -> str:
        """Return the values as text: ``batch_size 32, learning_rate 1.093e-05``."""
        return ", ".join(f"{name} {number(value)}" for name, value in self.values.items())


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts "length=17-64" before "length=257+"."""
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
    """Format a hyper-parameter's value, with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclasses.dataclass(frozen=True)
class QuarantinedRows:
    """Rows of the data that ExampleGen quarantined.

    Attributes:
        count: number of quarantined rows.
        rows: number of rows read, quarantined ones included.
        reasons: reason -> number of rows.
        folder: folder that holds the rows.
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
        counts: ``components.ingestion.resolution.RowOutcome`` -> number of rows.
    """

    spans: list[int]
    counts: dict[str, int]


@dataclasses.dataclass(frozen=True)
class RunReport:
    """A run with the results of its nodes.

    Attributes:
        run: the run with its outputs.
        evaluation: the evaluation; None if the run has none.
        push: the push; None if the Pusher did not run or failed.
        trials: the Tuner's trials, the best first.
        quarantined: the quarantined rows; None if there are none.
        feedback: the feedback rows; None if no span was read.
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
        """The InfraValidator's outcome as a sentence; "" without one."""
        blessing = self.run.artifact("InfraValidator", "InfraBlessing")
        return str(blessing.properties.get("outcome") or "") if blessing else ""
