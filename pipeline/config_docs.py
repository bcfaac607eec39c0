"""Generator of ``pipeline/default.toml`` and ``docs/configuration.md``.

Run ``python -m pipeline.config_docs`` after a change in ``pipeline.sections``; a test fails if
the files are out of date.
"""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config import Config
from pipeline.config_keys import is_section, keys, legal
from pipeline.config_sources import ENVIRONMENT_PREFIX
from pipeline.toml_text import toml_value

REPOSITORY = Path(__file__).parents[1]
DEFAULT_TOML = Path(__file__).parent / "default.toml"
CONFIGURATION_PAGE = REPOSITORY / "docs" / "configuration.md"

_TOML_HEAD = """\
# Every key with its default. Copy the keys that you change into your own file:
#     bert run --config my.toml
# Generated from the settings: python -m pipeline.config_docs
"""

_PAGE_HEAD = f"""\
# Configuration

<!-- Generated: python -m pipeline.config_docs -->

Values come from four sources; later ones override earlier ones:

1. the defaults below, which are also in `pipeline/default.toml`;
2. `--config FILE.toml`, or the name of a bundled config: {{shipped}};
3. environment variables, `{ENVIRONMENT_PREFIX}TRAINER__EPOCHS=3`;
4. `--set trainer.epochs=3` (`--data PATH` is short for `--set data.path=PATH`).

Values in the environment and after `--set` are TOML (`true`, `3`, `["a", "b"]`,
`{{{{min = 1, max = 2}}}}`); anything else is a string. Relative paths are resolved against the
current directory, not against the config file.

`bert config show --origins` prints each value and its source. An unknown key is an error; the
message suggests the nearest key.
"""


def default_toml() -> str:
    """Return every key with its default, meaning and allowed values, as TOML."""
    lines = [_TOML_HEAD]
    for section, model in sections(Config):
        lines.append(f"# {_first_line(model)}\n[{section}]")
        for name, field in model.model_fields.items():
            if not is_section(field):
                lines.append(_comment(f"{field.description} Allowed: {legal(field)}."))
                lines.append(f"{name} = {toml_value(field.default)}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def configuration_page() -> str:
    """Return the Markdown page that documents every key."""
    shipped = ", ".join(
        f"`{path.stem}`" for path in sorted((DEFAULT_TOML.parent / "configs").glob("*.toml"))
    )
    lines = [_PAGE_HEAD.format(shipped=shipped)]
    for section, model in sections(Config):
        lines.append(f"## [{section}]\n\n{_first_line(model)}\n")
        lines.append("| key | default | allowed values | meaning |\n| --- | --- | --- | --- |")
        for key, field in keys(model).items():
            if "." not in key:
                lines.append(_row(f"{section}.{key}", field))
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield each section's dotted name and model, in order of declaration."""
    for name, field in model.model_fields.items():
        if is_section(field):
            yield prefix + name, field.annotation  # type: ignore[misc]
            yield from sections(field.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]


def _row(key: str, field: FieldInfo) -> str:
    cells = (f"`{key}`", f"`{toml_value(field.default)}`", legal(field), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _comment(text: str) -> str:
    return textwrap.fill(text, 98, initial_indent="# ", subsequent_indent="# ")


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n")[0]


def main() -> None:
    """Write both files."""
    DEFAULT_TOML.write_text(default_toml(), "utf-8")
    CONFIGURATION_PAGE.write_text(configuration_page(), "utf-8")


if __name__ == "__main__":
    main()
