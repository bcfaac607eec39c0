"""The Tuner's search space in keras-tuner's terms."""

from collections.abc import Mapping
from typing import Any

import keras_tuner

from modules.contract.errors import UserError
from modules.contract.hparams import HParams, TunerSettings
from modules.contract.search_space import check_search

_DEFAULTS = HParams().to_dict()


def make_hyperparameters(settings: TunerSettings) -> keras_tuner.HyperParameters:
    """Convert ``settings.search_space`` to keras-tuner's form.

    Raises:
        UserError: the search cannot run with these settings.
    """
    try:
        check_search(settings)
    except ValueError as error:
        raise UserError(f"tuner.search_space: {error}") from error
    hyperparameters = keras_tuner.HyperParameters()
    for name, dimension in settings.search_space.items():
        if "values" in dimension:
            _add_values(hyperparameters, name, dimension["values"])
        else:
            _add_range(hyperparameters, name, dimension)
    return hyperparameters


def _add_values(hyperparameters: keras_tuner.HyperParameters, name: str, values: list[Any]) -> None:
    kind = type(_DEFAULTS[name])
    values = [kind(value) for value in values]
    if len(set(values)) == 1:
        hyperparameters.Fixed(name, values[0])
    elif kind is bool:  # a Choice would make integers of them
        hyperparameters.Boolean(name)
    else:
        hyperparameters.Choice(name, values)


def _add_range(
    hyperparameters: keras_tuner.HyperParameters, name: str, dimension: Mapping[str, Any]
) -> None:
    kind = type(_DEFAULTS[name])
    numbers = {key: kind(dimension[key]) for key in ("min", "max", "step") if key in dimension}
    make = hyperparameters.Int if kind is int else hyperparameters.Float
    make(
        name,
        numbers["min"],
        numbers["max"],
        step=numbers.get("step"),
        sampling=dimension.get("sampling", "linear"),
    )
