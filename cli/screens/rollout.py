"""Prints where a rollout stands."""

import dataclasses
import datetime
import json
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.terminal import duration, stdout
from modules.contract.pushed_model import complete_versions
from pipeline.config import Config
from serving.records.database import Database
from serving.records.tables import RolloutEventRow
from serving.rollout import rules, transitions
from serving.rollout.controller import RolloutController
from serving.rollout.figures import StageFigures
from serving.rollout.manual import ManualRollout
from serving.rollout.server_status import AskedServer, ServedVersion
from serving.rollout.state import CANARY, FULL, LOADING, SHADOW, RolloutState, RolloutStore

_EVENTS = 10
_STYLES = {"stable": "green", "candidate": "yellow", "rejected": "red", "previous": ""}
_STAGES = {
    LOADING: "is being loaded by the model server and sees no traffic",
    SHADOW: "sees what the stable version answers, and answers nobody",
    CANARY: "answers a share of the callers",
}


@dataclasses.dataclass(frozen=True)
class Status:
    """All that is shown.

    Attributes:
        state: of the rollout.
        rejections: why each rejected version was rolled back.
        figures: of the candidate's stage.
        checks: of them against the limits; empty while nothing is on trial.
        served: what the model server holds; None when it does not answer.
        pushed: versions under the push directory.
        events: the newest first.
        now: seconds since 1970.
    """

    state: RolloutState
    rejections: Mapping[int, str]
    figures: StageFigures
    checks: tuple[rules.LimitCheck, ...]
    served: Mapping[int, ServedVersion] | None
    pushed: list[int]
    events: list[RolloutEventRow]
    now: float

    def seconds_left(self, settings: rules.RolloutSettings) -> float | None:
        """Until the stage is rolled back; None where nothing is timed."""
        if self.state.stage not in (SHADOW, CANARY):
            return None
        return max(0.0, self.state.stage_started + settings.max_stage_hours * 3600 - self.now)


def print_status(config: Config, database: Database, *, as_json: bool) -> None:
    """Print the status as tables or JSON.

    Args:
        config: names the push directory, the model and the limits.
        database: of the rollout.
        as_json: print one object.

    Raises:
        UserError: nothing was adopted yet.
    """
    status = read_status(config, database, time.time())
    if as_json:
        print(json.dumps(_as_json(status, config), indent=2, ensure_ascii=False))
        return
    console = stdout()
    console.print(_headline(status, config), soft_wrap=True)
    console.print()
    console.print(_versions_table(status, config))
    if status.checks:
        console.print()
        console.print(_checks_table(status, config))
    _print_events(console, status.events)


def read_status(config: Config, database: Database, now: float) -> Status:
    """Read where the rollout stands, and ask the model server what it holds.

    Raises:
        UserError: nothing was adopted yet.
    """
    gateway, directory = config.gateway, config.push_directory()
    state = ManualRollout(database, directory, gateway.model_name, "").read()
    store = RolloutStore(database)
    controller = RolloutController(database, directory, gateway.model_name, config.rollout)
    figures = controller.read_figures(state)
    on_trial = state.stage in (SHADOW, CANARY)
    return Status(
        state=state,
        rejections=store.rejections(state.model),
        figures=figures,
        checks=rules.check(state, figures, config.rollout) if on_trial else (),
        served=AskedServer(gateway.server_url, gateway.model_name)(),
        pushed=list(complete_versions(directory)),
        events=store.events(state.model, _EVENTS),
        now=now,
    )


def _headline(status: Status, config: Config) -> str:
    state = status.state
    line = f"model {state.model}: version {state.stable} serves"
    if state.stage == FULL:
        return f"{line} everybody; nothing is on trial"
    since = duration(status.now - state.stage_started)
    line += f"; version {state.candidate} {_STAGES[state.stage]}, for {since}"
    left = status.seconds_left(config.rollout)
    return line if left is None else f"{line}; {duration(left)} left to decide"


def _versions_table(status: Status, config: Config) -> Table:
    table = _table("version", "role")
    table.add_column("share", justify="right")
    table.add_column("model server")
    table.add_column("")
    for version in _versions(status):
        role = transitions.role(status.state, version)
        table.add_row(
            str(version),
            Text(_role_in_words(status.state, role), _STYLES.get(role, "")),
            _share(status.state, role, config.rollout.canary_share),
            _at_server(status, version),
            Text(status.rejections.get(version, "") if role == "rejected" else ""),
        )
    return table


def _versions(status: Status) -> list[int]:
    """The newest first. Of the rejected ones, those that still lie there."""
    return sorted({*status.pushed, *status.state.served}, reverse=True)


def _role_in_words(state: RolloutState, role: str) -> str:
    return f"candidate, {state.stage}" if role == "candidate" else role


def _share(state: RolloutState, role: str, canary_share: float) -> str:
    is_split = state.stage == CANARY
    if role == "stable":
        return f"{1 - canary_share if is_split else 1.0:.0%}"
    if role != "candidate" or state.stage == LOADING:
        return ""
    return f"{canary_share:.0%}" if is_split else "mirrored"


def _at_server(status: Status, version: int) -> str:
    if status.served is None:
        return "does not answer" if version in status.state.served else ""
    at_server = status.served.get(version)
    if at_server is None:
        return "not there yet" if version in status.state.served else ""
    if at_server.available:
        return "available"
    loading = "loading" if version in status.state.served else ""
    return f"cannot load it: {at_server.error}" if at_server.error else loading


def _checks_table(status: Status, config: Config) -> Table:
    table = _table("limit", "stands", "figures")
    answered, needed = status.figures.candidate.answered, config.rollout.min_requests
    table.add_row(
        "requests",
        Text("enough", "green") if answered >= needed else Text("more needed", "yellow"),
        f"{answered} of {needed} answered in this stage",
    )
    for check in status.checks:
        table.add_row(check.name, _standing(check), check.sentence)
    return table


def _standing(check: rules.LimitCheck) -> Text:
    if check.exceeded:
        return Text("exceeded", "bold red")
    if not check.holding:
        return Text("above, not surely", "yellow")
    return Text("not known yet") if check.value is None else Text("within", "green")


def _print_events(console: Console, events: list[RolloutEventRow]) -> None:
    table = _table("when", "event", "version", "by", "reason")
    for event in events:
        table.add_row(
            datetime.datetime.fromtimestamp(event.created).strftime("%Y-%m-%d %H:%M:%S"),
            event.action,
            str(event.version),
            Text(event.by),
            Text(event.reason),
        )
    console.print()
    console.print(table)


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False, header_style="bold")


def _as_json(status: Status, config: Config) -> dict[str, Any]:
    served = status.served
    return {
        **dataclasses.asdict(status.state),
        "canary_share": config.rollout.canary_share,
        "min_requests": config.rollout.min_requests,
        "seconds_left": status.seconds_left(config.rollout),
        "server_answers": served is not None,
        "versions": [
            {
                "version": version,
                "role": transitions.role(status.state, version),
                "pushed": version in status.pushed,
                "at_server": dataclasses.asdict(served[version])
                if served and version in served
                else None,
                "rejected_because": status.rejections.get(version),
            }
            for version in _versions(status)
        ],
        "figures": status.figures.as_json(),
        "checks": [dataclasses.asdict(check) for check in status.checks],
        "events": [
            {
                "created": event.created,
                "action": event.action,
                "version": event.version,
                "by": event.by,
                "reason": event.reason,
                "details": event.details,
            }
            for event in status.events
        ],
    }
