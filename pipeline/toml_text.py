"""Conversion of values to TOML text."""

import json
from typing import Any

from pydantic import BaseModel


def toml_value(value: Any) -> str:
    """Return a plain value as TOML on one line.

    A pydantic model becomes an inline table of the values that differ from its defaults.
    """
    if isinstance(value, BaseModel):
        return toml_value(value.model_dump(exclude_defaults=True))
    if isinstance(value, dict):
        items = (f"{_key(key)} = {toml_value(item)}" for key, item in value.items())
        return "{ " + ", ".join(items) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        # JSON and TOML use the same escapes, except that TOML also forbids a bare U+007F.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else toml_value(key)
