"""The order that a task of another orchestrator gives its process: one JSON object."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from modules.contract.errors import UserError
from pipeline.toml_text import toml_value

#: Keys of every order: config values in the form of ``--set``, and key -> value to override them.
ASSIGNMENTS, PARAMETERS = "assignments", "parameters"


def read(arguments: Sequence[str], *names: str, module: str) -> dict[str, Any]:
    """Return the order in the arguments of a process.

    Args:
        arguments: the arguments of the process.
        *names: the keys that the order must have in addition to assignments and parameters.
        module: the module that was started, for the message.

    Raises:
        UserError: the arguments are not such an order.
    """
    words = [*names, ASSIGNMENTS, PARAMETERS]
    with contextlib.suppress(ValueError, TypeError):
        [text] = arguments
        order = json.loads(text)
        if set(order) == set(words):
            return dict(order)
    raise UserError(
        f"{module}: must receive one JSON object with {', '.join(words[:-1])} and {words[-1]}; "
        "compile the DAG file again: bert compile --runner airflow"
    )


def assignments(order: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the config values of an order, overriding ones last."""
    changes = (f"{key}={toml_value(value)}" for key, value in order[PARAMETERS].items())
    return (*order[ASSIGNMENTS], *changes)
