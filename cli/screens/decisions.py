"""Output of ``bert watch`` and ``bert decisions``: events, polls and recorded decisions."""

import json
from collections.abc import Callable, Iterable, Sequence

from cli.terminal import stdout
from runners.triggers.history import (
    DECISION,
    ERROR,
    ROLLOUT,
    RUN,
    WATCH,
    DecisionRecord,
    Event,
    clock,
)
from runners.triggers.poll import Poll

_STYLES = {
    DECISION: "cyan",
    ERROR: "bold red",
    ROLLOUT: "magenta",
    RUN: "green",
    WATCH: "dim",
}


def event_printer(*, as_json: bool) -> Callable[[Event], None]:
    """Return a function that prints an event as one line, without buffering."""
    console = stdout()

    def print_event(event: Event) -> None:
        if as_json:
            print(json.dumps(event.to_dict()), flush=True)
            return
        from rich.text import Text

        kind = (f"{event.kind:<9}", _STYLES[event.kind])
        line = Text.assemble((clock(event.created), "dim"), " ", kind, event.one_line())
        console.print(line, soft_wrap=True)
        console.file.flush()

    return print_event


def print_poll(poll: Poll) -> None:
    """Print the poll's events and its decision, even if the decision is not new."""
    print_events(poll.news())
    console = stdout()
    for sentence in poll.sentences():
        console.print(sentence, soft_wrap=True)


def print_events(events: Iterable[Event]) -> None:
    """Print one line for each event."""
    print_event = event_printer(as_json=False)
    for event in events:
        print_event(event)


def print_poll_json(poll: Poll) -> None:
    """Print the poll as one JSON object."""
    print(json.dumps(poll.to_dict()))


def print_decisions(decisions: Sequence[DecisionRecord], *, as_json: bool) -> None:
    """Print decisions as a table, or as JSON.

    Args:
        decisions: in the order in which they are printed.
        as_json: print one array of objects.
    """
    if as_json:
        print(json.dumps([decision.to_dict() for decision in decisions]))
        return
    console = stdout()
    if not decisions:
        console.print("No decisions yet; run `bert watch`.")
        return
    from rich import box
    from rich.table import Table

    table = Table("when", "run", "triggers", "reason", box=box.SIMPLE_HEAD, pad_edge=False)
    for decision in decisions:
        run = decision.run
        state = f"{run.id} {run.state}" if run else "-"
        triggers = ", ".join(decision.triggers) or "-"
        table.add_row(clock(decision.created), state, triggers, decision.reason)
    console.print(table)
