"""``bert watch`` and ``bert decisions``: start runs by triggers, and list the decisions."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config, open_database

if TYPE_CHECKING:
    from runners.triggers.config_source import ConfigSource


def watch(
    config: ConfigOption = None,
    assignments: SetOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="Poll once, print the decision and exit, for cron.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            help="With --once: wait until a started run ends or is submitted, for containers.",
        ),
    ] = False,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code",
            help="With --once: exit with 99 if no run starts, which Airflow's BashOperator treats "
            "as skipped.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start runs when a trigger of the config fires, and advance the rollout, until Ctrl-C.

    A started run continues after the watcher ends, and the next watcher finds it.

    Exit codes of --once: 0 a run started, or none was due; 1 the run could not be started, the poll
    failed or, with --wait, the run failed.
    """
    from cli.screens.decisions import event_printer
    from modules.contract.errors import UserError
    from runners.triggers.config_source import ConfigSource
    from runners.triggers.poll import NOTHING_DUE
    from runners.triggers.watcher import Watcher

    if wait and not once:
        raise UserError("--wait needs --once; run `bert watch --once --wait`")
    if exit_code and not once:
        raise UserError("--exit-code needs --once; run `bert watch --once --exit-code`")
    source = ConfigSource(config, tuple(assignments or []))
    if once:
        code = _poll_once(source, wait=wait, as_json=as_json)
        raise typer.Exit(0 if code == NOTHING_DUE and not exit_code else code)
    from runners.triggers import loop

    with loop.stop_signals() as pause:
        number = loop.watch(lambda: Watcher(source), event_printer(as_json=as_json), pause)
    raise typer.Exit(loop.exit_code(number))


def _poll_once(source: "ConfigSource", *, wait: bool, as_json: bool) -> int:
    """Poll, print the decision (as JSON: after any wait), and return the exit code."""
    from cli.screens.decisions import print_events, print_poll, print_poll_json
    from runners.triggers.watcher import Watcher, poll_once

    if as_json:
        poll = poll_once(Watcher(source), wait=wait)
        print_poll_json(poll)
    else:
        poll = poll_once(Watcher(source), wait=wait, on_poll=print_poll)
        print_events(poll.awaited)
    return poll.exit_code


def decisions(
    config: ConfigOption = None,
    assignments: SetOption = None,
    last: Annotated[
        int, typer.Option("--last", "-n", min=1, help="Maximum number of decisions.")
    ] = 20,
    as_json: JsonOption = False,
) -> None:
    """List why runs did or did not start, the newest decision first.

    A decision equal to the one before it is not recorded.
    """
    settings = load_config(config, assignments)
    from cli.screens.decisions import print_decisions
    from runners.triggers.store import read_decisions

    with open_database(settings) as database:
        found = read_decisions(database, last)
    print_decisions(found, as_json=as_json)
