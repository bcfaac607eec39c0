"""What a hyper-parameter search space may say."""

import dataclasses
import difflib
from typing import Any

from modules.contract.hparams import HParams

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(HParams)}
_RANGE_KEYS = {"min", "max", "sampling", "step"}


def check_search_space(space: dict[str, dict[str, Any]]) -> None:
    """Refuse what is no search space.

    Args:
        space: name of an ``HParams`` field -> ``{"values": [...]}`` or
            ``{"min": x, "max": y, "sampling": "linear"|"log", "step": s}``.

    Raises:
        ValueError: one line that says what is wrong and what is legal.
    """
    for name, dimension in space.items():
        if name not in _DEFAULTS:
            near = difflib.get_close_matches(name, _DEFAULTS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"unknown hyper-parameter {name!r}{hint} Legal: {', '.join(_DEFAULTS)}"
            )
        if "values" in dimension:
            _check_values(name, dimension)
        else:
            _check_range(name, dimension)


def _check_values(name: str, dimension: dict[str, Any]) -> None:
    values = dimension["values"]
    if set(dimension) != {"values"} or not isinstance(values, list) or not values:
        raise ValueError(f"{name} needs {{values = [...]}} alone, received {dimension}")
    for value in values:
        if not _fits(name, value):
            kind = type(_DEFAULTS[name]).__name__
            raise ValueError(f"{name}'s values must be of type {kind}, received {value!r}")


def _check_range(name: str, dimension: dict[str, Any]) -> None:
    if not {"min", "max"} <= set(dimension) <= _RANGE_KEYS:
        raise ValueError(
            f"{name} needs {{values = [...]}} or {{min = x, max = y}}, and optionally "
            f'sampling = "linear" or "log" and step = s; received {dimension}'
        )
    numbers = [dimension[key] for key in ("min", "max", "step") if key in dimension]
    if type(_DEFAULTS[name]) not in (int, float) or not all(_fits(name, n) for n in numbers):
        raise ValueError(f"{name}'s range does not fit its type, received {dimension}")
    if not dimension["min"] < dimension["max"]:
        raise ValueError(f"{name}'s min must be below its max, received {dimension}")
    sampling = dimension.get("sampling", "linear")
    if sampling not in ("linear", "log"):
        raise ValueError(f'{name}\'s sampling must be "linear" or "log", received {sampling!r}')
    if sampling == "log" and dimension["min"] <= 0:
        raise ValueError(f"{name}'s min must be above 0 to sample on a log scale")


def _fits(name: str, value: object) -> bool:
    kind = type(_DEFAULTS[name])
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind
