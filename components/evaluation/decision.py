"""The rule that decides whether a candidate is blessed. A pure function of numbers.

1. The candidate's answers can be trusted: its scores are finite, and its labels occur in the test
   split.
2. Every floor is met. Slices with too few examples are reported but not judged.
3. The primary metric's gain over the baseline is greater than the margin and, if significance is
   required, so is the lower end of the gain's interval. Without a baseline, only floors decide.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from components.evaluation import slices
from components.evaluation.bootstrap import Comparison, Interval
from components.evaluation.settings import EvaluatorSettings, Floor
from components.evaluation.slices import SliceMetrics

#: Tolerance for decimal fractions: 0.9 - 0.8 must not count as greater than 0.1.
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class FloorResult:
    """Result of one floor on one slice.

    Attributes:
        floor: the floor, in words.
        slice: the slice's name; "" is the whole test split.
        examples: number of examples in the slice.
        value: the candidate's value; None if the metric is not defined there.
        passed: whether the floor is met; None if the slice is too small to judge.
    """

    floor: str
    slice: str
    examples: int
    value: float | None
    passed: bool | None


@dataclasses.dataclass(frozen=True)
class Decision:
    """Whether the candidate is blessed, and why.

    Attributes:
        blessed: whether the candidate is blessed.
        metric: the primary metric.
        examples: number of test examples that both models answered.
        candidate: the candidate's value of the primary metric; None if it is not defined.
        candidate_interval: its bootstrap interval.
        baseline: the baseline's value, or None without a baseline.
        difference: candidate minus baseline, or None.
        difference_interval: its paired bootstrap interval, or None.
        better_share: share of resamples in which the candidate is better, or None.
        floors: the result of every floor on every slice that it names.
        reasons: one sentence for each reason to reject; empty if blessed.
        notes: remarks for the reader that did not affect the decision.
        settings: settings of the Evaluator.
    """

    blessed: bool
    metric: str
    examples: int
    candidate: float | None
    candidate_interval: Interval
    baseline: float | None
    difference: float | None
    difference_interval: Interval | None
    better_share: float | None
    floors: tuple[FloorResult, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    settings: EvaluatorSettings

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as JSON types; undefined values are null."""
        return _json_types(dataclasses.asdict(self))

    def summary(self) -> str:
        """Return one line for ``bert show``."""
        value = f"{self.metric} {format_value(self.candidate)}"
        if self.difference is not None:
            value += f" ({self.difference:+.4f} against the baseline)"
        return f"{value}: " + ("blessed" if self.blessed else f"rejected, {self.reasons[0]}")


def decide(
    settings: EvaluatorSettings,
    *,
    candidate: Mapping[str, SliceMetrics],
    baseline: Mapping[str, SliceMetrics] | None,
    comparison: Comparison,
    chance: float,
    problems: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Decision:
    """Decide whether the candidate is blessed.

    Args:
        settings: settings of the Evaluator.
        candidate: slice name -> the candidate's metrics; "" is the whole test split.
        baseline: slice name -> the baseline's metrics, or None.
        comparison: bootstrap intervals of the primary metric.
        chance: the primary metric of always predicting the majority class; the floor if none is
            configured.
        problems: why the candidate's answers cannot be trusted; a single one rejects it.
        notes: remarks for the reader.
    """
    overall = candidate[slices.OVERALL]
    value = overall.values[settings.metric]
    reasons = list(problems)
    floors = check_floors(settings, candidate, chance)
    reasons.extend(_broken(result) for result in floors if result.passed is False)
    before = baseline[slices.OVERALL].values[settings.metric] if baseline else None
    difference = None
    if value is None:
        reasons.append(f"its {settings.metric} is not defined on this test split")
    elif before is not None:
        difference = value - before
        reasons.extend(_too_little_gain(settings, difference, comparison))
    return Decision(
        blessed=not reasons,
        metric=settings.metric,
        examples=overall.examples,
        candidate=value,
        candidate_interval=comparison.candidate,
        baseline=before,
        difference=difference,
        difference_interval=comparison.difference,
        better_share=comparison.better_share,
        floors=tuple(floors),
        reasons=tuple(reasons),
        notes=tuple(notes),
        settings=settings,
    )


def check_floors(
    settings: EvaluatorSettings, candidate: Mapping[str, SliceMetrics], chance: float
) -> list[FloorResult]:
    """Check every floor on every slice that it names; without floors, the majority floor.

    Args:
        settings: floors, and the number of examples that a slice needs to be judged.
        candidate: slice name -> metrics.
        chance: see ``decide``.
    """
    if not settings.floors:
        return [_majority_floor(settings.metric, candidate[slices.OVERALL], chance)]
    results = []
    for floor in settings.floors:
        if not floor.slice:
            names = [slices.OVERALL]
        else:
            names = [n for n in candidate if slices.in_slice(n, floor.column, floor.value)]
        if not names:
            # The test split has no example of the slice: too few to judge.
            results.append(FloorResult(floor.describe(), floor.slice, 0, None, None))
        results.extend(_check_floor(floor, name, candidate, settings) for name in names)
    return results


def _majority_floor(metric: str, overall: SliceMetrics, chance: float) -> FloorResult:
    value = overall.values[metric]
    return FloorResult(
        floor=f"{metric} > {chance:.4f}, the value of always predicting the majority class",
        slice=slices.OVERALL,
        examples=overall.examples,
        value=value,
        passed=value is not None and value > chance + _ROUNDING,
    )


def _check_floor(
    floor: Floor, name: str, candidate: Mapping[str, SliceMetrics], settings: EvaluatorSettings
) -> FloorResult:
    metrics = candidate[name]
    if floor.one_vs_rest:
        label = name.partition("=")[2]
        value = candidate[slices.OVERALL].classes[label][floor.metric]
    else:
        value = metrics.values[floor.metric]
    described = dataclasses.replace(floor, slice=name).describe()
    if name != slices.OVERALL and metrics.examples < settings.min_slice_examples:
        return FloorResult(described, name, metrics.examples, value, None)
    passed = value is not None
    if value is not None and floor.min is not None:
        passed = passed and value >= floor.min - _ROUNDING
    if value is not None and floor.max is not None:
        passed = passed and value <= floor.max + _ROUNDING
    return FloorResult(described, name, metrics.examples, value, passed)


def _broken(result: FloorResult) -> str:
    return f"the floor {result.floor} is not met: {format_value(result.value)}"


def _too_little_gain(
    settings: EvaluatorSettings, difference: float, comparison: Comparison
) -> list[str]:
    reasons = []
    if not difference > settings.margin + _ROUNDING:
        reasons.append(
            f"its {settings.metric} differs from the baseline's by {difference:+.4f}, which is not "
            f"more than the margin of {settings.margin:+g}"
        )
    if settings.require_significance:
        interval = comparison.difference
        if interval is None or not interval.low > settings.margin + _ROUNDING:
            low = "not defined" if interval is None else f"{interval.low:+.4f}"
            reasons.append(
                f"the {settings.confidence:.0%} interval of the difference starts at {low}, which "
                f"is not more than the margin of {settings.margin:+g}, and significance is required"
            )
    return reasons


def format_value(value: float | None) -> str:
    """Return the value with four decimals, or "not defined"."""
    return "not defined" if value is None or math.isnan(value) else f"{value:.4f}"


def _json_types(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json_types(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_types(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
