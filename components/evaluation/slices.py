"""Slices of the test split and their names. Standard library only."""

import dataclasses
from collections.abc import Mapping, Sequence

#: The whole test split.
OVERALL = ""


@dataclasses.dataclass(frozen=True)
class SliceMetrics:
    """Metrics of one model on one slice.

    Attributes:
        examples: number of test examples in the slice.
        values: metric -> value; None if it is not defined, such as the AUC of a single class.
        classes: label -> metric -> value, one class against the rest within the slice.
    """

    examples: int
    values: dict[str, float | None]
    classes: dict[str, dict[str, float | None]]


#: Model name -> slice name ("" is the whole test split) -> metrics.
MetricsTable = dict[str, dict[str, SliceMetrics]]


def length_slice(text: str, bounds: Sequence[int]) -> str:
    """Return the length slice of a text, such as "17-64" or "257+".

    Args:
        text: raw text; words are separated by whitespace.
        bounds: ascending word counts at which a slice ends.
    """
    words = len(text.split())
    low = 0
    for bound in bounds:
        if words <= bound:
            return f"{low}-{bound}"
        low = bound + 1
    return f"{low}+"


def slice_name(keys: Mapping[str, str]) -> str:
    """Return the slice's name in floors and reports: "" or "column=value"."""
    return " ".join(f"{column}={value}" for column, value in sorted(keys.items()))


def in_slice(name: str, column: str, value: str) -> bool:
    """Return whether a floor on ``column=value`` covers the slice ``name``; "*" is any value."""
    if value == "*":
        return name.startswith(f"{column}=")
    return name == f"{column}={value}"


def listed(names: Sequence[str], most: int = 10) -> str:
    """Return the names as a list for a sentence, shortened if there are many.

    Args:
        names: the names to list.
        most: the largest number of names that are spelt out.
    """
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
