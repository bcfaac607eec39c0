"""Sources of config values: a TOML file, the environment, ``--set``.

Each source records the origin of each key, rejects keys that the config does not have, and passes
nested tables to pydantic-settings, which merges them.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from modules.contract.errors import UserError
from pipeline.config_keys import is_table, keys, nearest

ENVIRONMENT_PREFIX = "BERT__"
CONFIGS = Path(__file__).parent / "configs"


class SettingsSource(PydanticBaseSettingsSource):
    """Values from one source.

    Attributes:
        legal: dotted key -> its field, for every key of the config.
        values: nested tables, in the form that pydantic-settings merges.
        origins: dotted key -> a readable origin of its value.
    """

    def __init__(self, settings: type[BaseSettings]) -> None:
        """Create an empty source for the settings class."""
        super().__init__(settings)
        self.legal = keys(settings)
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def add(self, key: str, value: Any, origin: str) -> None:
        """Add one value.

        Raises:
            UserError: the config has no such key. The message suggests the nearest.
        """
        table_key = self._table_of(key)
        if key not in self.legal and table_key is None:
            raise UserError(_unknown(key, origin, self.legal))
        *parents, name = key.split(".")
        table = self.values
        for parent in parents:
            table = table.setdefault(parent, {})
        table[name] = value
        self.origins[table_key or key] = origin

    def add_table(self, table: Mapping[str, Any], place: str, prefix: str = "") -> None:
        """Add every value of a nested table.

        Args:
            table: the values; a key may hold a table of a subsection.
            place: origin of the table, for error messages.
            prefix: dotted name of the table's section with a trailing dot, "" at the top.

        Raises:
            UserError: a key is unknown, or a section is not a table.
        """
        for name, value in table.items():
            key = prefix + name
            if isinstance(value, dict) and key not in self.legal and self._has_section(key):
                self.add_table(value, place, f"{key}.")
            elif self._has_section(key):
                raise UserError(
                    f"{place}: [{key}] is a section and must be a table; received {value!r}"
                )
            else:
                self.add(key, value, f"{place}: {key}")

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return a field's value; part of the base class's interface."""
        return self.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the values to pydantic-settings."""
        return self.values

    def _has_section(self, key: str) -> bool:
        return any(legal.startswith(f"{key}.") for legal in self.legal)

    def _table_of(self, key: str) -> str | None:
        """Return the free table that contains ``key``, e.g. ``tuner.search_space``."""
        for name, field in self.legal.items():
            if is_table(field) and key.startswith(f"{name}."):
                return name
        return None

    def parse(self, key: str, text: str) -> Any:
        """Parse a value given as text: TOML if it is valid TOML, else the text itself."""
        field = self.legal.get(key)
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
        return text if field and field.annotation is str and not isinstance(value, str) else value


def file_source(settings: type[BaseSettings], name: str) -> SettingsSource:
    """Read ``--config``: a path, or the name of a bundled config.

    Raises:
        UserError: the file does not exist, is not TOML, or has an unknown key.
    """
    path = find_config(name)
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a TOML file: {error}") from error
    source = SettingsSource(settings)
    source.add_table(table, str(path) if Path(name) == path else path.name)
    return source


def find_config(name: str) -> Path:
    """Return the file that ``--config NAME`` refers to.

    Raises:
        UserError: neither a file nor a bundled config has that name.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = {path.stem: path for path in sorted(CONFIGS.glob("*.toml"))}
    if name in shipped:
        return shipped[name]
    near = nearest(name, shipped)
    raise UserError(
        f"config file {name!r} does not exist; give a path or one of {', '.join(shipped)}"
        + (f"; did you mean {near}?" if near else "")
    )


def environment_source(settings: type[BaseSettings], environ: Mapping[str, str]) -> SettingsSource:
    """Read the variables that start with ``BERT__``, such as ``BERT__TRAINER__EPOCHS=3``.

    Raises:
        UserError: a variable names an unknown key.
    """
    source = SettingsSource(settings)
    for variable, text in sorted(environ.items()):
        if variable.upper().startswith(ENVIRONMENT_PREFIX):
            key = variable[len(ENVIRONMENT_PREFIX) :].lower().replace("__", ".")
            source.add(key, source.parse(key, text), variable)
    return source


def set_source(settings: type[BaseSettings], assignments: Sequence[str]) -> SettingsSource:
    """Read the values of ``--set section.key=value``.

    Raises:
        UserError: an argument is not an assignment, or names an unknown key.
    """
    source = SettingsSource(settings)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--set needs section.key=value, received {assignment!r}")
        key = key.strip()
        source.add(key, source.parse(key, text.strip()), f"--set {key}")
    return source


def sources(
    settings: type[BaseSettings],
    file: str | os.PathLike[str] | None,
    assignments: Sequence[str],
    environ: Mapping[str, str],
) -> tuple[SettingsSource, ...]:
    """Return all sources, those with the highest priority first.

    Raises:
        UserError: the file cannot be read, an argument is not an assignment, or a key is unknown.
    """
    weakest_first = [] if file is None else [file_source(settings, os.fspath(file))]
    weakest_first.append(environment_source(settings, environ))
    weakest_first.append(set_source(settings, assignments))
    return tuple(reversed(weakest_first))


def _unknown(key: str, origin: str, legal: Mapping[str, FieldInfo]) -> str:
    near = nearest(key, legal)
    hint = f"did you mean {near}?" if near else "`bert config show` lists all keys"
    return f"unknown config key {key} ({origin}); {hint}"
