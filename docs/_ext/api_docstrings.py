"""A Sphinx extension for the reference: no public name without a docstring, keys of the config.

Autodoc prints a name without a docstring as if it were meant so. Here that is a warning, and so
fails the build.
"""

import enum
import inspect
from typing import Any

from pydantic import BaseModel
from sphinx.util import logging

_log = logging.getLogger(__name__)
_FIRST_PARTY = ("pipeline.", "serving.", "modules.")


def _skip(app: Any, what: str, name: str, found: Any, skip: bool, options: Any) -> bool | None:
    """Leave out data: the docstring of its class describes it."""
    if isinstance(found, type) and not found.__module__.startswith(_FIRST_PARTY):
        return True
    is_code = inspect.isroutine(found) or isinstance(found, (type, property, enum.Enum))
    return skip if is_code else True


def _process(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    if not any(line.strip() for line in lines) and not isinstance(found, enum.Enum):
        _log.warning("%s has no docstring", name)
    if isinstance(found, type) and issubclass(found, BaseModel):
        lines += ["", *_keys(found)]


def _signature(
    app: Any, what: str, name: str, found: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """Leave out the constructor of a section: it repeats the keys."""
    return ("", "") if isinstance(found, type) and issubclass(found, BaseModel) else None


def _keys(section: type[BaseModel]) -> list[str]:
    """Return the keys of a section with their descriptions, as reStructuredText fields."""
    described = {
        name: (field.description or "").replace("*", r"\*").replace("`", "``")
        for name, field in section.model_fields.items()
    }
    return [f":ivar {name}: {text}" for name, text in described.items() if text]


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-process-signature", _signature)
    return {"version": "1", "parallel_read_safe": True}
