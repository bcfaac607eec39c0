"""JSON values as quoted in TensorFlow Serving's error messages: truncated at 256 bytes."""

import math
from collections.abc import Iterator
from typing import Any

from serving.server.rest import json_writer

_MAX_BYTES = 256
_INDENT = "    "


def type_name(value: Any) -> str:
    """Return the kind of a value: "Null", "True", "Number"."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        return "Object"
    if isinstance(value, list):
        return "Array"
    return "String" if isinstance(value, str) else "Number"


def quoted(value: Any) -> str:
    """Return the beginning of the value as JSON, up to the token that reaches 256 bytes."""
    text, size = [], 0
    for token in _tokens(value):
        text.append(token)
        size += len(token.encode("utf-8", "surrogateescape"))
        if size >= _MAX_BYTES:
            break
    return "".join(text)


def _tokens(root: Any) -> Iterator[str]:
    """Yield brackets, keys and values with their separators, up to a number that is not finite."""
    stack: list[tuple[Iterator[Any], bool]] = []
    value, prefix, opening = root, "", True
    while True:
        if opening and isinstance(value, (list, dict)):
            is_object = isinstance(value, dict)
            yield prefix + ("{" if is_object else "[")
            stack.append(
                (iter(value.items()) if isinstance(value, dict) else iter(value), is_object)
            )
            separator = ""
        else:
            if isinstance(value, float) and not math.isfinite(value):
                yield prefix
                return
            if opening:
                yield prefix + _scalar(value)
            separator = ","
        opening = False
        while stack and not opening:
            items, is_object = stack[-1]
            try:
                value = next(items)
            except StopIteration:
                stack.pop()
                newline = f"\n{_INDENT * len(stack)}" if is_object and separator else ""
                yield newline + ("}" if is_object else "]")
                separator = ","
                continue
            prefix, opening = f"{separator} " if separator else "", True
            if is_object:
                key, value = value
                yield f"{separator}\n{_INDENT * len(stack)}{json_writer.string_text(key)}"
                prefix = ": "
        if not stack:
            return


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return json_writer.string_text(value) if isinstance(value, str) else repr(value)
