"""Output of ``bert rollout status``."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli.terminal import duration, local_time, plain_table, print_json, stdout

if TYPE_CHECKING:
    from serving.records.tables import RolloutEventRow
    from serving.rollout.rules import LimitCheck
    from serving.rollout.state import Stage
    from serving.rollout.status import RolloutStatus, RolloutVersion

_STYLES = {"stable": "green", "candidate": "yellow", "rejected": "red", "previous": ""}
_STAGES: "dict[Stage, str]" = {
    "loading": "is loading and receives no traffic",
    "shadow": "sees the same traffic, and answers nobody",
    "canary": "answers a share of the callers",
}


def print_status(status: "RolloutStatus", *, as_json: bool) -> None:
    """Print the status as tables or JSON.

    Args:
        status: status to print.
        as_json: print one JSON object.
    """
    if as_json:
        print_json(status.to_dict())
        return
    console = stdout()
    console.print(_headline(status), soft_wrap=True)
    console.print()
    console.print(_versions_table(status))
    if status.checks:
        console.print()
        console.print(_checks_table(status))
    _print_events(console, status.events)


def _headline(status: "RolloutStatus") -> str:
    state = status.state
    line = f"model {state.model}: version {state.stable} serves"
    if state.stage == "full":
        return f"{line} all traffic; there is no candidate"
    since = duration(status.now - state.stage_started)
    line += f"; version {state.candidate} {_STAGES[state.stage]}, for {since}"
    left = status.seconds_left
    return line if left is None else f"{line}; {duration(left)} left to decide"


def _versions_table(status: "RolloutStatus") -> Table:
    share = Column("share", justify="right")
    table = plain_table("version", "role", share, "model server", "")
    for version in status.versions:
        stage = f", {status.state.stage}" if version.role == "candidate" else ""
        rejected_because = version.rejected_because if version.role == "rejected" else None
        table.add_row(
            str(version.version),
            Text(version.role + stage, _STYLES.get(version.role, "")),
            _share(status, version.role),
            _at_server(status, version),
            Text(rejected_because or ""),
        )
    return table


def _share(status: "RolloutStatus", role: str) -> str:
    stage, canary_share = status.state.stage, status.settings.canary_share
    is_split = stage == "canary"
    if role == "stable":
        return f"{1 - canary_share if is_split else 1.0:.0%}"
    if role != "candidate" or stage == "loading":
        return ""
    return f"{canary_share:.0%}" if is_split else "mirrored"


def _at_server(status: "RolloutStatus", version: "RolloutVersion") -> str:
    if not status.server_answers:
        return "does not answer" if version.wanted else ""
    at_server = version.at_server
    if at_server is None:
        return "not loaded yet" if version.wanted else ""
    if at_server.available:
        return "available"
    loading = "loading" if version.wanted else ""
    return f"loading failed: {at_server.error}" if at_server.error else loading


def _checks_table(status: "RolloutStatus") -> Table:
    table = plain_table("limit", "state", "figures")
    answered, needed = status.figures.candidate.answered, status.settings.min_requests
    table.add_row(
        "requests",
        Text("enough", "green") if answered >= needed else Text("more needed", "yellow"),
        f"{answered} of {needed} answered in this stage",
    )
    for check in status.checks:
        table.add_row(check.name, _standing(check), check.sentence)
    return table


def _standing(check: "LimitCheck") -> Text:
    if check.exceeded:
        return Text("exceeded", "bold red")
    if not check.holding:
        return Text("above, not significant", "yellow")
    return Text("unknown") if check.value is None else Text("within", "green")


def _print_events(console: Console, events: "list[RolloutEventRow]") -> None:
    table = plain_table("when", "event", "version", "by", "reason")
    for event in events:
        table.add_row(
            local_time(event.created),
            event.action,
            str(event.version),
            Text(event.by),
            Text(event.reason),
        )
    console.print()
    console.print(table)
