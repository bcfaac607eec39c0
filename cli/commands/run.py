"""``bert run``: run the pipeline on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import ConfigOption, SetOption, load_config

if TYPE_CHECKING:
    from pipeline.config import Config

DataOption = Annotated[
    list[str] | None,
    typer.Option("--data", "-d", metavar="PATH", help="Short for --set data.path=PATH."),
]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="NODE", help="First node to run; earlier nodes are reused."),
]
ToOption = Annotated[str | None, typer.Option("--to", metavar="NODE", help="Last node to run.")]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Run every component, even if cached.")
]


def run(
    config: ConfigOption = None,
    data: DataOption = None,
    assignments: SetOption = None,
    from_node: FromOption = None,
    to_node: ToOption = None,
    no_cache: NoCacheOption = False,
) -> None:
    """Run the pipeline on this machine, from labelled text to a pushed model."""
    assignments = [*(assignments or []), *(["pipeline.cache=false"] if no_cache else [])]
    settings = load_config(config, assignments, data)
    from cli.screens.run_progress import make_display, print_summary
    from cli.terminal import print_error, stdout
    from runners.local import run as local

    if from_node in (None, "ExampleGen"):
        check_data(settings)
    console = stdout()
    try:
        with make_display(console) as display:
            outcome = local.run(settings, from_node=from_node, to_node=to_node, on_event=display)
    except KeyboardInterrupt:
        print_error("interrupted, the worker is stopped; run the same command again to resume")
        raise typer.Exit(130) from None
    print_summary(console, display.board)
    if outcome.state != "succeeded":
        print_error(outcome.error or "the run failed")
        raise typer.Exit(2 if outcome.user_error else 1)
    _print_outcome(settings, outcome.run_id, config, assignments)


def _print_outcome(
    settings: "Config",
    run_id: str,
    config: str | None,
    assignments: list[str],
) -> None:
    """Print the run's result and what to type next."""
    from cli.screens.run_report import next_commands, print_result
    from cli.terminal import program_name, stdout
    from modules.contract.pushed_model import complete_versions
    from runners.lineage.run_report import read_report

    console = stdout()
    print_result(console, read_report(settings, run_id), slices=False)
    directory = settings.push_directory()
    served = directory if complete_versions(directory) else None
    commands = next_commands(config, assignments, served_directory=served, program=program_name())
    console.print("\nNext:")
    for command in commands:
        console.print(f"  {command}", soft_wrap=True)


def check_data(config: "Config") -> None:
    """Find the files of ``data.path`` and read the first row of each.

    Not checked are remote files (``gs://``) and span patterns, which only ExampleGen resolves, and
    feedback spans, which need not have every column.

    Args:
        config: with ``[data]``.

    Raises:
        DataError: a path does not exist, a format is unknown, a column is missing, or a file
            cannot be read.
    """
    from components.ingestion import files
    from components.ingestion.rows import Columns
    from components.ingestion.sources import find_sources

    arguments = config.example_gen_arguments()
    paths = [path for path in arguments["paths"] if not files.is_remote(path) and "{" not in path]
    if not paths:
        return
    columns = Columns(
        arguments["text_column"], arguments["label_column"], tuple(arguments["slice_columns"])
    )
    for source in find_sources(paths, arguments["data_format"]):
        if not Path(source.path).is_relative_to(arguments["spans_directory"]):
            next(source.read(columns, arguments["max_text_bytes"]), None)
