"""``bert config``: show the settings and their origins, or write a config for new data."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config

app = typer.Typer(no_args_is_help=True, help="Show the settings, or write a config for your data.")


@app.command()
def show(
    config: ConfigOption = None,
    assignments: SetOption = None,
    origins: Annotated[
        bool, typer.Option("--origins", help="Also print where each value comes from.")
    ] = False,
    as_json: JsonOption = False,
    as_toml: Annotated[bool, typer.Option("--toml", help="Print TOML.")] = False,
) -> None:
    """Print every setting with its value; passwords are masked."""
    settings = load_config(config, assignments)
    from cli.screens.config import render

    render(settings, style="json" if as_json else "toml" if as_toml else "table", origins=origins)


@app.command()
def init(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="CSV, JSONL or Parquet file, or a folder.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write; default: NAME.toml."),
    ] = None,
    text_column: Annotated[
        str | None,
        typer.Option(
            "--text-column", metavar="NAME", help="Column of the text; default: detected."
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            "--label-column", metavar="NAME", help="Column of the label; default: detected."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Detect the text and label columns of labelled data, and write a commented config."""
    from cli.config_init import propose, write_config
    from cli.terminal import program_name, stdout

    proposal = propose(data, text_column, label_column)
    destination = output or Path(f"{proposal.name}.toml")
    write_config(proposal, destination, force=force)
    stdout().print(
        f"{destination}: text in {proposal.text_column!r}, {len(proposal.labels)} classes in "
        f"{proposal.label_column!r}\n\n"
        f"Next:\n  {program_name()} run --config {shlex.quote(str(destination))}",
        soft_wrap=True,
    )
