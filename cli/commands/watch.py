"""``bert watch`` and ``bert decisions``: runs that start by themselves, and why."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config

if TYPE_CHECKING:
    from runners.triggers.config_source import ConfigSource


def watch(
    config: ConfigOption = None,
    assignments: SetOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="Poll once and exit, for cron; prints the decision.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            help="With --once: until a run that starts has ended or is submitted. For containers.",
        ),
    ] = False,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code",
            help="With --once: exit code 99, which Airflow's BashOperator skips at, if no run "
            "starts.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start runs by the triggers of the config, and move the rollout on, until Ctrl-C.

    Runs that were started go on when this ends, and are found again when it is back.

    Exit codes of --once: 0 a run started, or none was due; 1 it could not be started, the poll
    failed, or the run that --wait waited for did.
    """
    from cli.screens.decisions import event_printer
    from modules.contract.errors import UserError
    from runners.triggers.config_source import ConfigSource
    from runners.triggers.poll import NOTHING_DUE
    from runners.triggers.watcher import Watcher

    if wait and not once:
        raise UserError("--wait goes with --once; without it `bert watch` stays anyway")
    if exit_code and not once:
        raise UserError("--exit-code goes with --once; try bert watch --once --exit-code")
    source = ConfigSource(config, tuple(assignments or []))
    if once:
        code = _poll_once(source, wait=wait, as_json=as_json)
        raise typer.Exit(0 if code == NOTHING_DUE and not exit_code else code)
    from runners.triggers import loop

    with loop.stop_signals() as pause:
        number = loop.watch(lambda: Watcher(source), event_printer(as_json=as_json), pause)
    raise typer.Exit(loop.exit_code(number))


def _poll_once(source: "ConfigSource", *, wait: bool, as_json: bool) -> int:
    """Print the decision before a wait, or everything as one object after it; the exit code."""
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
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many decisions.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List why runs were started or not, the newest first.

    A decision that says the same as the one before is not kept again.
    """
    settings = load_config(config, assignments)
    from contextlib import closing

    from cli.screens.decisions import print_decisions
    from runners.triggers.store import read_decisions
    from serving.records.database import Database

    with closing(Database(settings.database_url())) as database:
        found = read_decisions(database, last)
    print_decisions(found, as_json=as_json)
