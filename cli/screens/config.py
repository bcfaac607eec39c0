"""Output of ``bert config show``: a table with origins, TOML or JSON."""

import json
from functools import reduce
from operator import getitem
from typing import Literal

from rich.table import Table
from rich.text import Text

from cli.terminal import plain_table, stdout
from pipeline.config import DEFAULT_ORIGIN, Config
from pipeline.config_docs import sections
from pipeline.config_keys import is_section, keys
from pipeline.toml_text import toml_value


def render(config: Config, *, style: Literal["table", "toml", "json"], origins: bool) -> None:
    """Print every value of the config, passwords masked.

    Args:
        config: config to print.
        style: output format; off a terminal, "table" prints ``key = value`` lines.
        origins: also print where each value comes from.
    """
    console = stdout()
    if style == "json":
        console.print(_json(config, origins), soft_wrap=True)
    elif style == "toml":
        console.print(_toml(config, origins), soft_wrap=True)
    elif console.is_terminal:
        console.print(_table(config, origins))
    else:
        for key, value in values(config).items():
            console.print(
                f"{key} = {toml_value(value)}" + (f"  # {config.origin(key)}" if origins else ""),
                soft_wrap=True,
            )


def values(config: Config) -> dict[str, object]:
    """Return every dotted key with its plain, masked value."""
    nested = config.to_dict()
    return {key: reduce(getitem, key.split("."), nested) for key in keys(type(config))}


def _json(config: Config, origins: bool) -> str:
    if not origins:
        return json.dumps(config.to_dict(), indent=2, ensure_ascii=False)
    rows = {
        key: {"value": value, "origin": config.origin(key)} for key, value in values(config).items()
    }
    return json.dumps(rows, indent=2, ensure_ascii=False)


def _toml(config: Config, origins: bool) -> str:
    flat = values(config)
    lines: list[str] = []
    for section, model in sections(type(config)):
        lines.append(f"\n[{section}]" if lines else f"[{section}]")
        for name, field in model.model_fields.items():
            if not is_section(field):
                key = f"{section}.{name}"
                note = f"  # {config.origin(key)}" if origins else ""
                lines.append(f"{name} = {toml_value(flat[key])}{note}")
    return "\n".join(lines)


def _table(config: Config, origins: bool) -> Table:
    table = plain_table("key", "value")
    if origins:
        table.add_column("from")
    for key, value in values(config).items():
        origin = config.origin(key)
        style = "dim" if origins and origin == DEFAULT_ORIGIN else ""
        cells = [key, toml_value(value), *([origin] if origins else [])]
        table.add_row(*(Text(cell, style) for cell in cells))
    return table
