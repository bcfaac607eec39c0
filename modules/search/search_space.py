"""The Tuner's search space: checked, and put in keras-tuner's terms."""

import difflib
from collections.abc import Mapping
from typing import Any

import keras_tuner

from modules.contract.errors import UserError
from modules.contract.hparams import HParams, TunerSettings

_DEFAULTS = HParams().to_dict()
_RANGE_KEYS = {"min", "max", "sampling", "step"}
_SAMPLINGS = ("linear", "log")


def make_hyperparameters(settings: TunerSettings) -> keras_tuner.HyperParameters:
    """keras-tuner's form of ``settings.search_space``.

    Raises:
        UserError: a name is no hyper-parameter, or its values do not fit it or the algorithm.
    """
    if not settings.search_space:
        raise UserError(
            "tuner.search_space is empty; at least one hyper-parameter is needed; "
            'for example learning_rate = {"min": 1e-5, "max": 1e-4, "sampling": "log"}'
        )
    hyperparameters = keras_tuner.HyperParameters()
    for name, choice in settings.search_space.items():
        _check_name(name, settings)
        if "values" in choice:
            _add_values(hyperparameters, name, choice)
        else:
            _add_range(hyperparameters, name, choice, settings.algorithm)
    _check_epochs(settings)
    return hyperparameters


def _check_name(name: str, settings: TunerSettings) -> None:
    if name not in _DEFAULTS:
        near = difflib.get_close_matches(name, _DEFAULTS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(
            f"tuner.search_space: {name!r} is no hyper-parameter; "
            f"legal: {', '.join(sorted(_DEFAULTS))}{hint}"
        )
    if name == "epochs" and settings.algorithm == "hyperband":
        raise UserError(
            "tuner.search_space: Hyperband sets the epochs of each trial itself; "
            "take epochs out, or choose another tuner.algorithm"
        )


def _add_values(
    hyperparameters: keras_tuner.HyperParameters, name: str, choice: Mapping[str, Any]
) -> None:
    values = choice["values"]
    if set(choice) != {"values"} or not isinstance(values, list | tuple) or not values:
        raise _bad(name, choice)
    values = [_of_right_type(name, value, choice) for value in values]
    if len(set(values)) == 1:
        hyperparameters.Fixed(name, values[0])
    elif isinstance(values[0], bool):  # a Choice would make integers of them
        hyperparameters.Boolean(name)
    else:
        hyperparameters.Choice(name, values)


def _add_range(
    hyperparameters: keras_tuner.HyperParameters,
    name: str,
    choice: Mapping[str, Any],
    algorithm: str,
) -> None:
    if not {"min", "max"} <= set(choice) <= _RANGE_KEYS or type(_DEFAULTS[name]) in (bool, str):
        raise _bad(name, choice)
    low, high = (_of_right_type(name, choice[key], choice) for key in ("min", "max"))
    sampling = choice.get("sampling", "linear")
    if sampling not in _SAMPLINGS or low >= high or (sampling == "log" and low <= 0):
        raise _bad(name, choice)
    step = choice.get("step")
    if algorithm == "grid" and step is None:
        raise UserError(
            f"tuner.search_space.{name}: a grid needs single values, received {dict(choice)}; "
            'give {"values": [...]}, or a "step", or choose another tuner.algorithm'
        )
    if step is not None:
        step = _of_right_type(name, step, choice)
        if step <= (1 if sampling == "log" else 0):
            raise _bad(name, choice)
    make = hyperparameters.Int if type(_DEFAULTS[name]) is int else hyperparameters.Float
    make(name, low, high, step=step, sampling=sampling)


def _of_right_type(name: str, value: Any, choice: Mapping[str, Any]) -> Any:
    """``value`` as the type of the ``HParams`` field; a whole number may stand for a float."""
    wanted = type(_DEFAULTS[name])
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise _bad(name, choice)
    return value


def _check_epochs(settings: TunerSettings) -> None:
    choice = settings.search_space.get("epochs", {})
    most = max(choice.get("values", [choice.get("max", 0)]))
    if most > settings.epochs:
        raise UserError(
            f"tuner.search_space.epochs goes up to {most}, but tuner.epochs allows a trial "
            f"{settings.epochs}; raise tuner.epochs to {most}"
        )


def _bad(name: str, choice: Mapping[str, Any]) -> UserError:
    wanted = type(_DEFAULTS[name]).__name__
    ranges = ', or {"min": x, "max": y, "sampling": "linear" or "log", "step": s} with min < max'
    return UserError(
        f'tuner.search_space.{name}: legal is {{"values": [{wanted}, ...]}}'
        f"{ranges if wanted in ('int', 'float') else ''}; received {dict(choice)}"
    )
