"""``bert submit``: start the pipeline on another platform, and wait for its end."""

from typing import Annotated

import typer

from cli.commands.compile import RunnerOption
from cli.commands.options import ConfigOption, SetOption, load_config


def submit(
    runner: RunnerOption,
    config: ConfigOption = None,
    assignments: SetOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Wait for the run to end.")] = False,
) -> None:
    """Compile the pipeline and start it on a platform.

    With --watch, the exit code is 1 if the run fails. Ctrl-C stops watching; the run continues.
    """
    settings = load_config(config, assignments)
    from cli.terminal import print_error, stdout
    from runners.remote import platform

    console = stdout()
    run = platform.submit(runner, settings)
    console.print(f"submitted {run.name}\n  {run.url}", soft_wrap=True)
    if not watch:
        return
    end = platform.watch(run, lambda task, state: console.print(f"{task or 'run'}: {state}"))
    if not end.succeeded:
        print_error(f"the run ended as {end.state}" + (f": {end.error}" if end.error else ""))
        raise typer.Exit(1)
