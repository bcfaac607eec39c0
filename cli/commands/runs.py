"""``bert runs`` and ``bert show``: list runs, or show one."""

from typing import Annotated

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config

LastOption = Annotated[int, typer.Option("--last", "-n", min=1, help="Maximum number of runs.")]
RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="Run id or its prefix; default: the last run."),
]


def runs(
    config: ConfigOption = None,
    assignments: SetOption = None,
    last: LastOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List runs, the newest first, with start, state, metric, decision and duration."""
    settings = load_config(config, assignments)
    from cli.screens.run_report import print_runs
    from runners.lineage.run_report import read_reports

    print_runs(read_reports(settings, last=last), as_json=as_json)


def show(
    run: RunArgument = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one run: components, metrics against the baseline, decision, artifacts."""
    settings = load_config(config, assignments)
    from cli.screens.run_report import print_run
    from runners.lineage.run_report import read_report

    print_run(read_report(settings, run), as_json=as_json)
