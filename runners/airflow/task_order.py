"""What a task of another orchestrator tells the process that it starts: one JSON object."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from modules.contract.errors import UserError
from pipeline.toml_text import toml_value

#: Of every order: config values as ``--set`` takes them, and key -> value, stronger.
ASSIGNMENTS, PARAMETERS = "assignments", "parameters"


def read(arguments: Sequence[str], *names: str, module: str) -> dict[str, Any]:
    """The order in a process' arguments.

    Args:
        arguments: of the process.
        *names: of the values that the object must hold beside assignments and parameters.
        module: that was started, for the error.

    Raises:
        UserError: it is not of that form.
    """
    legal = {*names, ASSIGNMENTS, PARAMETERS}
    try:
        [text] = arguments
        order = json.loads(text)
        if legal == set(order):
            return dict(order)
    except (ValueError, TypeError):
        pass
    words = [*names, ASSIGNMENTS, PARAMETERS]
    raise UserError(
        f"{module}: legal is one JSON object with {', '.join(words[:-1])} and {words[-1]}; "
        "compile the DAG file again: bert compile --runner airflow"
    )


def assignments(order: Mapping[str, Any]) -> tuple[str, ...]:
    """The config values of an order, the stronger ones last."""
    changes = (f"{key}={toml_value(value)}" for key, value in order[PARAMETERS].items())
    return (*order[ASSIGNMENTS], *changes)
