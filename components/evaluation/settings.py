"""The Evaluator's settings. Standard library only: the graph and the worker both import it."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, Self

from modules.contract.errors import UserError

#: Metrics of a whole slice. Higher is better, except for the calibration error.
SLICE_METRICS = (
    "accuracy",
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "auc",
    "calibration_error",
)
#: Metrics of one class against the rest, over the whole test split.
CLASS_METRICS = ("precision", "recall", "f1", "auc")
LOWER_IS_BETTER = frozenset({"calibration_error"})

#: Columns that ``slice`` may name in addition to the configured ones.
LABEL_SLICE = "label"
LENGTH_SLICE = "length"


@dataclasses.dataclass(frozen=True)
class Floor:
    """A bound on a metric.

    Attributes:
        metric: one of ``SLICE_METRICS``. With a ``label=`` slice also one of
            ``CLASS_METRICS``, measured as that class against the rest over the whole test split.
        min: the smallest accepted value, or None.
        max: the largest accepted value, or None; for ``calibration_error``.
        slice: "" for the whole test split, "column=value", or "column=*" for each value.
    """

    metric: str
    min: float | None = None
    max: float | None = None
    slice: str = ""

    @property
    def column(self) -> str:
        """Column of the slice; "" for the whole test split."""
        return self.slice.partition("=")[0]

    @property
    def value(self) -> str:
        """Value of the slice; "*" for each value."""
        return self.slice.partition("=")[2]

    @property
    def one_vs_rest(self) -> bool:
        """Whether the metric compares one class with the rest over the whole test split.

        Within the slice of its own class, such a metric would be meaningless.
        """
        return self.column == LABEL_SLICE and self.metric in CLASS_METRICS

    def describe(self) -> str:
        """Return the floor in words, such as "accuracy >= 0.6 on domain=films"."""
        bounds = []
        if self.min is not None:
            bounds.append(f">= {self.min:g}")
        if self.max is not None:
            bounds.append(f"<= {self.max:g}")
        return f"{self.metric} {' and '.join(bounds)} on {self.slice or 'the whole test split'}"


@dataclasses.dataclass(frozen=True)
class EvaluatorSettings:
    """Settings of the Evaluator.

    Attributes:
        metric: the primary metric, on which candidate and baseline are compared: accuracy,
            macro_f1, macro_precision, macro_recall or auc.
        margin: the candidate's gain must be greater than this; negative allows a small loss.
        confidence: confidence level of the bootstrap intervals, between 0 and 1.
        require_significance: whether the lower end of the gain's interval must be greater than the
            margin, too.
        bootstrap_samples: number of resamples of the test split.
        min_slice_examples: slices with fewer examples are reported but not judged.
        length_slices: ascending word counts at which a length slice ends.
        floors: bounds that must hold; if empty, the primary metric must beat always predicting the
            majority class.
        slice_columns: columns of the raw examples to slice by.
        seed: seed of the bootstrap.
    """

    metric: str = "accuracy"
    margin: float = 0.0
    confidence: float = 0.95
    require_significance: bool = False
    bootstrap_samples: int = 2000
    min_slice_examples: int = 20
    length_slices: tuple[int, ...] = (16, 64, 256)
    floors: tuple[Floor, ...] = ()
    slice_columns: tuple[str, ...] = ()
    seed: int = 0

    @classmethod
    def create(cls, *, floors: Iterable[Mapping[str, Any]] = (), **values: Any) -> Self:
        """Create the settings from configuration values and check them.

        Args:
            floors: mappings with the fields of ``Floor``.
            **values: the other attributes, with lists in place of tuples, as in JSON.

        Raises:
            UserError: a value is illegal.
        """
        tuples = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        settings = cls(floors=tuple(map(_make_floor, floors)), **{**values, **tuples})
        settings._check()
        return settings

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns to slice by: the label, the length and the configured ones."""
        extra = (column for column in self.slice_columns if column != LABEL_SLICE)
        return (LABEL_SLICE, LENGTH_SLICE, *extra)

    def to_json(self) -> str:
        """Return the settings as JSON with sorted keys, so that equal settings give equal text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Create the settings from the output of ``to_json``.

        Raises:
            UserError: a value is illegal.
        """
        return cls.create(**json.loads(text))

    def _check(self) -> None:
        legal = [name for name in SLICE_METRICS if name not in LOWER_IS_BETTER]
        if self.metric not in legal:
            raise UserError(
                f"evaluator.metric must be one of {', '.join(legal)}; got {self.metric!r}; try "
                "`--set evaluator.metric=accuracy`"
            )
        if not 0 < self.confidence < 1:
            raise UserError(
                f"evaluator.confidence must be between 0 and 1; got {self.confidence}; try "
                "`--set evaluator.confidence=0.95`"
            )
        if self.bootstrap_samples < 1:
            raise UserError(
                f"evaluator.bootstrap_samples must be 1 or more; got {self.bootstrap_samples}; "
                "try `--set evaluator.bootstrap_samples=2000`"
            )
        bounds = list(self.length_slices)
        if bounds != sorted(set(bounds)) or any(bound < 1 for bound in bounds):
            raise UserError(
                "evaluator.length_slices must be ascending word counts of 1 or more; got "
                f"{bounds}; try `--set evaluator.length_slices=[16,64,256]`"
            )
        if LENGTH_SLICE in self.slice_columns:
            raise UserError(
                f"data.slice_columns must not contain {LENGTH_SLICE!r}, the name of the slices by "
                f"text length; got {list(self.slice_columns)}; rename the column in the data"
            )
        for floor in self.floors:
            _check_floor(floor, self.columns)


def _make_floor(values: Mapping[str, Any]) -> Floor:
    legal = [field.name for field in dataclasses.fields(Floor)]
    unknown = sorted(set(values) - set(legal))
    if unknown or "metric" not in values:
        raise UserError(
            f"a floor in evaluator.floors needs metric and min or max, and may have slice; "
            f'got {dict(values)}; try `{{metric = "accuracy", min = 0.6, slice = ""}}`'
        )
    return Floor(**values)


def _check_floor(floor: Floor, columns: tuple[str, ...]) -> None:
    where = f"got {floor.metric!r} on slice {floor.slice!r}"
    legal = dict.fromkeys((*SLICE_METRICS, *CLASS_METRICS))
    if floor.metric not in legal:
        raise UserError(
            f"a floor's metric must be one of {', '.join(legal)}; {where}; edit evaluator.floors"
        )
    if floor.min is None and floor.max is None:
        raise UserError(f"a floor needs min or max; {where}; edit evaluator.floors")
    if floor.metric in LOWER_IS_BETTER and floor.min is not None:
        raise UserError(
            f"{floor.metric} is better when lower, so its floor needs max, not min; {where}; "
            "edit evaluator.floors"
        )
    if floor.slice and ("=" not in floor.slice or floor.column not in columns):
        raise UserError(
            f'a floor\'s slice must be "" or COLUMN=VALUE or COLUMN=*, COLUMN one of '
            f"{', '.join(columns)}; {where}; edit evaluator.floors or data.slice_columns"
        )
    if floor.metric not in SLICE_METRICS and not floor.one_vs_rest:
        raise UserError(
            f'a floor on a single class\'s {floor.metric} needs slice = "label=NAME" or '
            f'"label=*"; {where}; edit evaluator.floors or use macro_{floor.metric}'
        )
