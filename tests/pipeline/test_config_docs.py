import tomllib
from pathlib import Path

import pytest

from pipeline.config import Config, load
from pipeline.config_docs import (
    CONFIGURATION_PAGE,
    DEFAULT_TOML,
    configuration_page,
    default_toml,
)
from pipeline.config_keys import keys

KEYS = keys(Config)


def flatten(table: dict, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in table.items():
        key = prefix + name
        if isinstance(value, dict) and key not in KEYS:
            flat |= flatten(value, f"{key}.")
        else:
            flat[key] = value
    return flat


def test_default_toml_has_every_key_and_no_other() -> None:
    table = tomllib.loads(DEFAULT_TOML.read_text("utf-8"))
    assert list(flatten(table)) == list(KEYS)


def test_default_toml_holds_the_defaults() -> None:
    assert load(DEFAULT_TOML, [], {}).model_dump() == Config().model_dump()


def test_default_toml_explains_every_key() -> None:
    lines = DEFAULT_TOML.read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith(("#", "[")):
            assert lines[number - 1].startswith("# "), f"{line} has no comment"


@pytest.mark.parametrize("key", KEYS)
def test_key_is_documented(key: str) -> None:
    assert KEYS[key].description, f"{key} has no description"
    assert f"| `{key}` |" in CONFIGURATION_PAGE.read_text("utf-8")


@pytest.mark.parametrize(
    ("path", "render"), [(DEFAULT_TOML, default_toml), (CONFIGURATION_PAGE, configuration_page)]
)
def test_generated_file_is_current(path: Path, render) -> None:
    assert path.read_text("utf-8") == render(), "run python -m pipeline.config_docs"
