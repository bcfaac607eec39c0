"""What ``bert watch`` and ``bert decisions`` print."""

import json
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from cli.terminal import stdout
from runners.triggers.brakes import clock
from runners.triggers.history import (
    DECISION,
    ERROR,
    FAILED,
    LOST,
    ROLLOUT,
    RUN,
    WATCH,
    Event,
    RunRecord,
)
from runners.triggers.store import last_decisions, run_states
from runners.triggers.watcher import Tick, Watcher
from serving.records import tables
from serving.records.database import Database

#: Exit code of a look that started nothing: that of Airflow's BashOperator for "skip the task".
NOTHING_DUE = 99

_BAD = frozenset({FAILED, LOST})
_STYLES = {
    DECISION: "cyan",
    ERROR: "bold red",
    ROLLOUT: "magenta",
    RUN: "green",
    WATCH: "dim",
}


def event_printer(*, as_json: bool) -> Callable[[Event], None]:
    """Prints each event as one line, at once."""
    console = stdout()

    def print_event(event: Event) -> None:
        if as_json:
            print(json.dumps(event.to_dict()), flush=True)
            return
        from rich.text import Text

        kind = (f"{event.kind:<9}", _STYLES[event.kind])
        sentence = " ".join(event.sentence.split())
        line = Text.assemble((clock(event.created), "dim"), " ", kind, sentence)
        console.print(line, soft_wrap=True)
        console.file.flush()

    return print_event


def print_tick(watcher: Watcher, *, wait: bool, as_json: bool) -> int:
    """Look once; print what happened and the decision, also one that is not new.

    Args:
        watcher: looks, and is closed.
        wait: until the run that is started, if one is, has ended or is submitted.
        as_json: one object, at the end.

    Returns:
        0 when a run started, ``NOTHING_DUE`` when none did; 1 when it could not be started, or,
        if it was waited for, when it failed.

    Raises:
        SQLAlchemyError: the database is away.
    """
    with closing(watcher):
        tick = watcher.tick(time.time())
        if not as_json:
            _print_tick(tick)
        later = watcher.wait() if wait and tick.run_id is not None else ()
    if as_json:
        decision = tick.decision.to_dict() if tick.decision else {}
        happened = [event.to_dict() for event in (*tick.events, *later)]
        print(json.dumps({**decision, "run": tick.run_id, "events": happened}))
    else:
        show = event_printer(as_json=False)
        for event in later:
            show(event)
    return _outcome(tick, later)


def _outcome(tick: Tick, later: Sequence[Event]) -> int:
    """What a look came to, as an exit code; see ``print_tick``."""
    if tick.run_id is None:
        return NOTHING_DUE
    told = [event for event in (*tick.events, *later) if event.details.get("run") == tick.run_id]
    ends = (event.kind == ERROR or event.details.get("state") in _BAD for event in told)
    return int(any(ends))


def _print_tick(tick: Tick) -> None:
    show = event_printer(as_json=False)
    for event in tick.events:
        if event.kind != DECISION:
            show(event)
    console = stdout()
    if tick.decision is None:
        console.print("no decision: another watcher has just started a run")
        return
    verdict = "a run starts" if tick.decision.started else "no run starts"
    console.print(f"{verdict}: {tick.decision.reason}", soft_wrap=True)
    for name, signal_details in tick.decision.details["signals"].items():
        console.print(f"  {name}: {signal_details['sentence']}", soft_wrap=True)
    for name, brake in tick.decision.details["brakes"].items():
        held = "holds" if brake["holds"] else "free"
        console.print(f"  {name} {held}: {brake['sentence']}", soft_wrap=True)


def print_decisions(database: Database, *, last: int, as_json: bool) -> None:
    """Print the newest decisions, the newest first."""
    rows = last_decisions(database, last)
    runs = run_states(database, [row.run_id for row in rows if row.run_id is not None])
    if as_json:
        print(json.dumps([_to_dict(row, runs.get(row.run_id or 0)) for row in rows]))
        return
    console = stdout()
    if not rows:
        console.print("no decision yet; `bert watch` takes them")
        return
    from rich import box
    from rich.table import Table

    table = Table("when", "run", "triggers", "reason", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        run = runs.get(row.run_id or 0)
        state = f"{run.id} {run.state}" if run else "-"
        table.add_row(clock(row.created), state, ", ".join(row.triggers) or "-", row.reason)
    console.print(table)


def _to_dict(row: tables.DecisionRow, run: RunRecord | None) -> dict[str, Any]:
    found = None
    if run:
        found = {
            "id": run.id,
            "runner": run.runner,
            "state": run.state,
            "started": run.started,
            "finished": run.finished,
            "external_id": run.external_id,
            "details": dict(run.details),
        }
    return {
        "id": row.id,
        "created": row.created,
        "started": row.started,
        "triggers": row.triggers,
        "reason": row.reason,
        "details": row.details,
        "run": found,
    }


def exit_code(number: int) -> int:
    """Of a program that a signal asked to end: Ctrl-C has its own."""
    return 130 if number == signal.SIGINT else 0
