"""Which slices an example is in, and what a slice is called. Standard library only."""

import dataclasses
from collections.abc import Mapping, Sequence

#: The whole test split.
OVERALL = ""


@dataclasses.dataclass(frozen=True)
class SliceMetrics:
    """What one model reaches on one slice.

    Attributes:
        examples: how many test examples the slice holds.
        values: metric -> value; None where it is not defined, as the AUC of a single class.
        classes: label -> metric -> value, one against the rest within the slice.
    """

    examples: int
    values: dict[str, float | None]
    classes: dict[str, dict[str, float | None]]


#: Model name -> slice name ("" is the whole test split) -> metrics.
MetricsTable = dict[str, dict[str, SliceMetrics]]


def length_slice(text: str, bounds: Sequence[int]) -> str:
    """The length slice of a text, such as "17-64" or "257+".

    Args:
        text: raw text; words are what whitespace parts.
        bounds: rising word counts that end a slice.
    """
    words = len(text.split())
    low = 0
    for bound in bounds:
        if words <= bound:
            return f"{low}-{bound}"
        low = bound + 1
    return f"{low}+"


def slice_name(keys: Mapping[str, str]) -> str:
    """The name that floors and reports use: "" or "column=value"."""
    return " ".join(f"{column}={value}" for column, value in sorted(keys.items()))


def in_slice(name: str, column: str, value: str) -> bool:
    """Whether the slice ``name`` is what a floor on ``column=value`` means; "*" is any value."""
    if value == "*":
        return name.startswith(f"{column}=")
    return name == f"{column}={value}"


def listed(names: Sequence[str], most: int = 10) -> str:
    """Names in a sentence, the first few of many.

    Args:
        names: what to list.
        most: how many are spelt out.
    """
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
