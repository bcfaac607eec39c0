"""The status of a rollout: its state, each version's role, figures, limits and latest events."""

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
_EVENT_KEYS = ("created", "action", "version", "by", "reason", "details")


@dataclasses.dataclass(frozen=True)
class RolloutVersion:
    """The status of a version in the rollout, the push directory and the model server.

    Attributes:
        version: its number.
        role: "stable", "previous", "candidate", "rejected" or "".
        wanted: whether the model server must load it.
        pushed: whether it is in the push directory.
        at_server: None if the model server does not have it or does not answer.
        rejected_because: why it was rolled back; None if it was not.
    """

    version: int
    role: str
    wanted: bool
    pushed: bool
    at_server: ServedVersion | None
    rejected_because: str | None


@dataclasses.dataclass(frozen=True)
class RolloutStatus:
    """The status of a rollout.

    Attributes:
        state: state of the rollout.
        settings: the limits.
        versions: pushed and served versions, newest first.
        figures: figures of the candidate's stage.
        checks: the figures compared with the limits; empty outside shadow and canary.
        server_answers: whether the model server answers.
        events: latest events, newest first.
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
        """Seconds until the stage is rolled back; None outside shadow and canary."""
        if self.state.stage not in (SHADOW, CANARY):
            return None
        end = self.state.stage_started + self.settings.max_stage_hours * 3600
        return max(0.0, end - self.now)

    def to_dict(self) -> dict[str, Any]:
        """Return the status as JSON types."""
        return {
            **dataclasses.asdict(self.state),
            "canary_share": self.settings.canary_share,
            "min_requests": self.settings.min_requests,
            "seconds_left": self.seconds_left,
            "server_answers": self.server_answers,
            "versions": [_version_dict(version) for version in self.versions],
            "figures": dataclasses.asdict(self.figures),
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "events": [{key: getattr(event, key) for key in _EVENT_KEYS} for event in self.events],
        }


def read_status(
    database: Database,
    push_directory: str,
    model: str,
    settings: rules.RolloutSettings,
    server_status: ServerStatus,
    now: float,
) -> RolloutStatus:
    """Read the status of a rollout, and query the model server.

    Args:
        database: holds the rollout.
        push_directory: holds the pushed versions.
        model: the model's name on the server.
        settings: the limits.
        server_status: queries the model server.
        now: seconds since 1970.

    Raises:
        UserError: no version was adopted yet.
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
    """Return the versions; rejected ones only if they are still in the push directory."""
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
    values = dataclasses.asdict(version)
    del values["wanted"]
    return values
