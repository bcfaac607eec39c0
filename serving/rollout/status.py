"""The status of a rollout: its state, each version's role, figures, limits and last events."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from modules.contract.pushed_model import complete_versions
from serving.records.database import Database
from serving.records.tables import RolloutEventRow
from serving.rollout import rules, transitions
from serving.rollout.controller import RolloutController
from serving.rollout.figures import StageFigures
from serving.rollout.manual import ManualRollout
from serving.rollout.server_status import ServedVersion, ServerStatus
from serving.rollout.state import CANARY, SHADOW, RolloutState, RolloutStore

_EVENTS = 10


@dataclasses.dataclass(frozen=True)
class RolloutVersion:
    """One version, as the rollout, the push directory and the model server know it.

    Attributes:
        version: its number.
        role: "stable", "previous", "candidate", "rejected" or "".
        wanted: whether the model server has to hold it.
        pushed: whether it lies in the push directory.
        at_server: None where the model server does not hold it or does not answer.
        rejected_because: why it was rolled back; None where it was not.
    """

    version: int
    role: str
    wanted: bool
    pushed: bool
    at_server: ServedVersion | None
    rejected_because: str | None


@dataclasses.dataclass(frozen=True)
class RolloutStatus:
    """Where a rollout stands.

    Attributes:
        state: of the rollout.
        settings: the limits.
        versions: pushed ones and those that serve, the newest first.
        figures: of the candidate's stage.
        checks: of them against the limits; empty while nothing is on trial.
        server_answers: whether the model server does.
        events: the newest first.
        now: seconds since 1970.
    """

    state: RolloutState
    settings: rules.RolloutSettings
    versions: tuple[RolloutVersion, ...]
    figures: StageFigures
    checks: tuple[rules.LimitCheck, ...]
    server_answers: bool
    events: list[RolloutEventRow]
    now: float

    @property
    def seconds_left(self) -> float | None:
        """Until the stage is rolled back; None where nothing is timed."""
        if self.state.stage not in (SHADOW, CANARY):
            return None
        end = self.state.stage_started + self.settings.max_stage_hours * 3600
        return max(0.0, end - self.now)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            **dataclasses.asdict(self.state),
            "canary_share": self.settings.canary_share,
            "min_requests": self.settings.min_requests,
            "seconds_left": self.seconds_left,
            "server_answers": self.server_answers,
            "versions": [_version_dict(version) for version in self.versions],
            "figures": self.figures.as_json(),
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "events": [_event_dict(event) for event in self.events],
        }


def read_status(
    database: Database,
    push_directory: str,
    model: str,
    settings: rules.RolloutSettings,
    server_status: ServerStatus,
    now: float,
) -> RolloutStatus:
    """Read where the rollout stands, and ask the model server what it holds.

    Args:
        database: of the rollout.
        push_directory: holds the pushed versions.
        model: the model's name at the server.
        settings: the limits.
        server_status: asks the model server.
        now: seconds since 1970.

    Raises:
        UserError: nothing was adopted yet.
    """
    state = ManualRollout(database, push_directory, model, "").read()
    store = RolloutStore(database)
    figures = RolloutController(database, push_directory, model, settings).read_figures(state)
    on_trial = state.stage in (SHADOW, CANARY)
    served = server_status()
    return RolloutStatus(
        state=state,
        settings=settings,
        versions=_versions(state, store.rejections(state.model), served, push_directory),
        figures=figures,
        checks=rules.check(state, figures, settings) if on_trial else (),
        server_answers=served is not None,
        events=store.events(state.model, _EVENTS),
        now=now,
    )


def _versions(
    state: RolloutState,
    rejections: Mapping[int, str],
    served: Mapping[int, ServedVersion] | None,
    push_directory: str,
) -> tuple[RolloutVersion, ...]:
    """Of the rejected ones, only those that still lie in the push directory."""
    pushed = complete_versions(push_directory)
    return tuple(
        RolloutVersion(
            version=version,
            role=transitions.role(state, version),
            wanted=version in state.served,
            pushed=version in pushed,
            at_server=(served or {}).get(version),
            rejected_because=rejections.get(version),
        )
        for version in sorted({*pushed, *state.served}, reverse=True)
    )


def _version_dict(version: RolloutVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "role": version.role,
        "pushed": version.pushed,
        "at_server": dataclasses.asdict(version.at_server) if version.at_server else None,
        "rejected_because": version.rejected_because,
    }


def _event_dict(event: RolloutEventRow) -> dict[str, Any]:
    return {
        "created": event.created,
        "action": event.action,
        "version": event.version,
        "by": event.by,
        "reason": event.reason,
        "details": event.details,
    }
