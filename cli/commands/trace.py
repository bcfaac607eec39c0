"""``bert trace``: from an answer back to the data and the code behind it."""

from typing import Annotated

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config


def trace(
    prediction: Annotated[
        str, typer.Argument(metavar="ID", help="Of a prediction or of a request, or how it begins.")
    ],
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Show the texts too, where they were kept.")
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a prediction was made with: version, run, evaluation, data spans, code.

    Where a link of the chain is missing, what is known is shown and why the rest is not.
    """
    settings = load_config(config, assignments)
    from contextlib import closing

    from cli.screens.trace import print_trace
    from runners.lineage.trace import read_trace
    from serving.records.database import Database

    with closing(Database(settings.database_url())) as database:
        found = read_trace(settings, database, prediction)
    print_trace(found, show_text=show_text, as_json=as_json)
