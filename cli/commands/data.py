"""``bert data``: public data sets to try the pipeline on."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Fetch public data sets.")


@app.callback()
def _group() -> None:
    """Keep ``fetch`` a subcommand: Typer turns a single command into the group itself."""


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Data set: imdb or newsgroups.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", help="Archive to use instead of a download."),
    ] = None,
    destination: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="CSV", help="File to write; default: data/NAME.csv."
        ),
    ] = None,
) -> None:
    """Download a data set, verify it, and convert it to CSV."""
    from cli.terminal import program_name, stdout
    from data.datasets import fetch as fetch_dataset

    destination = destination or Path("data") / f"{name}.csv"
    fetch_dataset(name, destination, source_path=source)
    command = f"{program_name()} run --config {name} --data {destination}"
    stdout().print(f"{destination}: {command}", soft_wrap=True)
