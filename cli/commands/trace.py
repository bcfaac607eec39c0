"""``bert trace``: trace a prediction to its version, run, data and code."""

from typing import Annotated

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config, open_database


def trace(
    prediction: Annotated[
        str, typer.Argument(metavar="ID", help="Id of a prediction or request, or its prefix.")
    ],
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Also show the texts, if they were stored.")
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trace a prediction to its version, run, evaluation, data spans and code.

    If a link of the chain is missing, the rest is shown, with the reason for the gap.
    """
    settings = load_config(config, assignments)
    from cli.screens.trace import print_trace
    from runners.lineage.trace import read_trace

    with open_database(settings) as database:
        found = read_trace(settings, database, prediction)
    print_trace(found, show_text=show_text, as_json=as_json)
