"""Options shared by several commands, and the config that they select."""

from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.config import Config
    from serving.records.database import Database

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="TOML file, or a bundled config: imdb, newsgroups."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Set one config key; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def load_config(
    file: str | None, assignments: list[str] | None, data: list[str] | None = None
) -> "Config":
    """Load the config that the options select.

    Args:
        file: ``--config``.
        assignments: ``--set``.
        data: ``--data``; overrides both.

    Raises:
        UserError: an unknown key or a bad value.
    """
    import json

    from pipeline.config import load

    paths = [f"data.path={json.dumps(data[0] if len(data) == 1 else data)}"] if data else []
    return load(file, [*(assignments or []), *paths])


def open_database(config: "Config") -> AbstractContextManager["Database"]:
    """Open the gateway's database, which is closed when the block ends.

    Raises:
        UserError: the database cannot be opened.
    """
    from serving.records.database import Database

    return closing(Database(config.database_url()))
