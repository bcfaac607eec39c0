"""The config's keys as a flat list of dotted names: look-up, suggestions, allowed values."""

import difflib
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_NUMBERS: Mapping[Any, str] = {int: "a whole number", float: "a number"}


def keys(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Return every key of the model as ``section.key``, in order of declaration."""
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        if is_section(field):
            found |= keys(field.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            found[prefix + name] = field
    return found


def is_section(field: FieldInfo) -> bool:
    """Return whether the field is a table with declared keys."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def is_table(field: FieldInfo) -> bool:
    """Return whether the field is a free table, whose keys the config does not declare."""
    return get_origin(field.annotation) is dict


def nearest(name: str, legal: Mapping[str, Any]) -> str | None:
    """Return the key most similar to ``name``, by its whole name or its last part.

    Args:
        name: the name that was given.
        legal: the allowed names.

    Returns:
        The most similar name, or None if none is similar.
    """
    by_name = difflib.get_close_matches(name.lower(), legal, 1, cutoff=0.7)
    if by_name:
        return by_name[0]
    last_parts = {key.rpartition(".")[2]: key for key in reversed(list(legal))}
    by_last = difflib.get_close_matches(name.lower().rpartition(".")[2], last_parts, 1, cutoff=0.7)
    return last_parts[by_last[0]] if by_last else None


def legal(field: FieldInfo) -> str:
    """Return the allowed values in words, e.g. ``a whole number from 8 to 512``."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "legal" in extra:
        return str(extra["legal"])
    return _describe(field.annotation) + _describe_range(field.metadata)


def is_secret(field: FieldInfo) -> bool:
    """Return whether the value may contain a password."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("secret"))


def _describe(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        quoted = [f'"{argument}"' for argument in arguments]
        return f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(argument) for argument in arguments)
    if origin is tuple:
        return f"a list, each {_describe(arguments[0])}"
    if annotation is bool:
        return "true or false"
    return _NUMBERS.get(annotation, "a string")


def _describe_range(metadata: list[Any]) -> str:
    words = ""
    for bound in metadata:
        if isinstance(bound, annotated_types.Ge):
            words += f" from {bound.ge}"
        elif isinstance(bound, annotated_types.Gt):
            words += f" above {bound.gt}"
        elif isinstance(bound, annotated_types.Le):
            words += f" to {bound.le}"
        elif isinstance(bound, annotated_types.Lt):
            words += f" to below {bound.lt}"
        elif isinstance(bound, annotated_types.MinLen):
            words += ", not empty"
    return words
