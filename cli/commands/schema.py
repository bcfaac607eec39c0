"""``bert schema``: show the data's schema, or accept it for later runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.commands.options import ConfigOption, SetOption, load_config

if TYPE_CHECKING:
    from pipeline.config import Config

app = typer.Typer(no_args_is_help=True, help="Show the data's schema, or accept it for later runs.")

_FILE = "schema.pbtxt"


@app.command()
def show(config: ConfigOption = None, assignments: SetOption = None) -> None:
    """Print the accepted schema or, without one, the schema that the last run inferred."""
    settings = load_config(config, assignments)
    from cli.terminal import stdout

    path = current(settings)
    console = stdout()
    console.print(f"# {path}\n{path.read_text('utf-8').rstrip()}", soft_wrap=True)


@app.command()
def accept(config: ConfigOption = None, assignments: SetOption = None) -> None:
    """Accept the schema that the last run inferred; later runs check their data against it."""
    settings = load_config(config, assignments)
    from cli.terminal import stdout

    source, destination = accept_schema(settings)
    stdout().print(f"{destination} accepted, copied from {source}", soft_wrap=True)


def inferred_schema(config: "Config") -> Path:
    """Return the schema of the last run that has one.

    Raises:
        UserError: no run has inferred a schema.
    """
    from modules.contract.errors import UserError
    from runners.lineage.runs import read_runs

    for run in read_runs(config, with_outputs=["SchemaGen"]):
        artifact = run.artifact("SchemaGen", "Schema")
        if artifact and (Path(artifact.uri) / _FILE).is_file():
            return Path(artifact.uri) / _FILE
    raise UserError("no run has inferred a schema yet; run `bert run --to SchemaGen`")


def accept_schema(config: "Config") -> tuple[Path, Path]:
    """Copy the inferred schema to where later runs import it from.

    Returns:
        Source and destination.

    Raises:
        UserError: there is no inferred schema, or the destination cannot be written.
    """
    from modules.contract.atomic_file import write_text
    from modules.contract.errors import UserError

    source, destination = inferred_schema(config), config.schema_path()
    try:
        write_text(destination, source.read_text("utf-8"))
    except OSError as error:
        raise UserError(
            f"cannot write {destination} ({error.strerror}); set schema.path"
        ) from error
    return source, destination


def current(config: "Config") -> Path:
    """Return the accepted schema if there is one, else the inferred one.

    Raises:
        UserError: there is neither.
    """
    curated = config.schema_path()
    return curated if curated.is_file() else inferred_schema(config)
