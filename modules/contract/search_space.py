"""Rules for the Tuner's search space. Standard library only."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from modules.contract.hparams import HParams, TunerSettings

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(HParams)}
_RANGE_KEYS = {"min", "max", "sampling", "step"}


def check_search_space(space: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse names and values that no search can use.

    Args:
        space: name of an ``HParams`` field -> ``{"values": [...]}`` or
            ``{"min": x, "max": y, "sampling": "linear"|"log", "step": s}``.

    Raises:
        ValueError: a name is unknown or its values are not legal; the message is one line.
    """
    for name, dimension in space.items():
        if name not in _DEFAULTS:
            near = difflib.get_close_matches(name, _DEFAULTS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"unknown hyper-parameter {name!r}; must be one of {', '.join(_DEFAULTS)}{hint}"
            )
        if "values" in dimension:
            _check_values(name, dimension)
        else:
            _check_range(name, dimension)


def check_search(settings: TunerSettings) -> None:
    """Check the search space, and that it suits the algorithm and the epochs of a trial.

    Raises:
        ValueError: the search cannot run with these settings; the message is one line.
    """
    space = settings.search_space
    if not space:
        raise ValueError(
            "is empty; give at least one hyper-parameter, for example "
            'learning_rate = {min = 1e-5, max = 1e-4, sampling = "log"}'
        )
    check_search_space(space)
    if "epochs" in space:
        _check_epochs(space["epochs"], settings)
    if settings.algorithm == "grid":
        for name, dimension in space.items():
            if "values" not in dimension and "step" not in dimension:
                raise ValueError(
                    f"{name}: a grid needs single values, received {dict(dimension)}; give "
                    "{values = [...]} or a step, or choose another tuner.algorithm"
                )


def _check_values(name: str, dimension: Mapping[str, Any]) -> None:
    values = dimension["values"]
    if set(dimension) != {"values"} or not isinstance(values, list | tuple) or not values:
        raise ValueError(
            f"{name} needs {{values = [...]}} and no other key, received {dict(dimension)}"
        )
    for value in values:
        _check_type(name, value)


def _check_range(name: str, dimension: Mapping[str, Any]) -> None:
    received = f"received {dict(dimension)}"
    if not {"min", "max"} <= set(dimension) <= _RANGE_KEYS:
        raise ValueError(
            f"{name} needs {{values = [...]}} or {{min = x, max = y}}, and optionally "
            f'sampling = "linear" or "log" and step = s; {received}'
        )
    kind = type(_DEFAULTS[name])
    if kind not in (int, float):
        raise ValueError(
            f"{name} is of type {kind.__name__} and needs {{values = [...]}}; {received}"
        )
    for key in ("min", "max", "step"):
        if key in dimension:
            _check_type(name, dimension[key])
    if not dimension["min"] < dimension["max"]:
        raise ValueError(f"{name}'s min must be below its max, {received}")
    sampling = dimension.get("sampling", "linear")
    if sampling not in ("linear", "log"):
        raise ValueError(f'{name}\'s sampling must be "linear" or "log", received {sampling!r}')
    if sampling == "log" and dimension["min"] <= 0:
        raise ValueError(f"{name}'s min must be above 0 to sample on a log scale, {received}")
    least = 1 if sampling == "log" else 0
    if "step" in dimension and dimension["step"] <= least:
        raise ValueError(f"{name}'s step must be above {least} on a {sampling} scale, {received}")


def _check_type(name: str, value: object) -> None:
    kind = type(_DEFAULTS[name])
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise ValueError(f"{name} must be of type {kind.__name__}, received {value!r}")


def _check_epochs(dimension: Mapping[str, Any], settings: TunerSettings) -> None:
    if settings.algorithm == "hyperband":
        raise ValueError(
            "epochs: Hyperband sets the epochs of each trial itself; remove epochs, or choose "
            "another tuner.algorithm"
        )
    most = max(dimension.get("values") or [dimension["max"]])
    if most > settings.epochs:
        raise ValueError(
            f"epochs goes up to {most}, but tuner.epochs allows a trial {settings.epochs}; "
            f"raise tuner.epochs to {most}"
        )
