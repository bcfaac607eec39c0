"""The steps that a rollout can take, as pure functions from state to change.

::

    (none) --adopt--> full --start--> loading -> shadow -> canary --promote--> full
                        ^                |         |          |
                        '----------------'-rollback-----------'      full --rollback--> full

Held throughout: at most one candidate; no version that serves was rejected; a rollback of the
stable version returns to the one that served before it.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from serving.rollout.state import FULL, LOADING, Action, Change, RolloutState, Stage

_NONE: Mapping[str, Any] = {}


class NotPossibleError(Exception):
    """The rollout stands where this step cannot be taken; the message says why."""


def adopt(model: str, version: int, now: float, reason: str) -> Change:
    """Let a first version take all traffic."""
    state = RolloutState(model, 1, version, stage=FULL, stage_started=now)
    return Change(state, "adopt", version, reason)


def replace_failed(state: RolloutState, version: int, now: float, reason: str) -> Change:
    """Adopt another version where the stable one cannot be loaded and none served before it.

    Raises:
        NotPossibleError: a version served before, or is on trial.
    """
    if state.stable is None or state.previous is not None:
        raise NotPossibleError("there is a version to go back to")
    if version == state.stable or version in state.rejected:
        raise NotPossibleError(f"version {version} was rolled back, or is the one that fails")
    rejected = _with(state.rejected, state.stable)
    return _change(_full(state, version, None, now, rejected), ("adopt", version, reason))


def start(
    state: RolloutState, version: int, now: float, reason: str, *, again: bool = False
) -> Change:
    """Put a version on trial; another candidate is superseded, not rejected.

    Args:
        state: of the rollout.
        version: it starts with the stage "loading".
        now: seconds since 1970.
        reason: one sentence.
        again: a person wants it, even if it was rejected.

    Raises:
        NotPossibleError: it serves, or was rejected.
    """
    if version in (state.stable, state.candidate):
        raise NotPossibleError(f"version {version} is {role(state, version)} already")
    if version in state.rejected and not again:
        raise NotPossibleError(f"version {version} was rolled back")
    next_state = dataclasses.replace(
        state,
        revision=state.revision + 1,
        # Back on trial, it is nothing to roll back to.
        previous=None if version == state.previous else state.previous,
        candidate=version,
        stage=LOADING,
        stage_started=now,
        rejected=tuple(each for each in state.rejected if each != version),
    )
    return _change(next_state, ("start", version, reason))


def advance(
    state: RolloutState,
    stage: Stage,
    now: float,
    reason: str,
    details: Mapping[str, Any] = _NONE,
) -> Change:
    """Go on to the candidate's next stage.

    Raises:
        NotPossibleError: nothing is on trial.
    """
    if state.candidate is None:
        raise NotPossibleError("no version is on trial")
    next_state = dataclasses.replace(
        state, revision=state.revision + 1, stage=stage, stage_started=now
    )
    return _change(next_state, ("advance", state.candidate, reason), details)


def promote(
    state: RolloutState,
    version: int,
    now: float,
    reason: str,
    details: Mapping[str, Any] = _NONE,
    unwanted: Collection[int] = (),
) -> Change:
    """Give a version all traffic; the stable one stays loaded as the previous one.

    Args:
        state: of the rollout.
        version: the candidate, or one that a person chose, whatever was thought of it before.
        now: seconds since 1970.
        reason: one sentence.
        details: the figures behind it.
        unwanted: versions never to be tried again, or the stable version's successors would
            come back when an older version is chosen.

    Raises:
        NotPossibleError: it is the stable version.
    """
    if version == state.stable:
        raise NotPossibleError(f"version {version} is the stable version already")
    rejected = tuple(sorted({*state.rejected, *unwanted} - {version}))
    previous = state.stable if state.stable not in rejected else None
    return _change(
        _full(state, version, previous, now, rejected), ("promote", version, reason), details
    )


def roll_back(
    state: RolloutState, now: float, reason: str, details: Mapping[str, Any] = _NONE
) -> Change:
    """Reject the candidate; without one, return to the version that served before.

    Raises:
        NotPossibleError: there is no candidate, and no version that served before.
    """
    if state.candidate is not None:
        rejected = _with(state.rejected, state.candidate)
        next_state = _full(state, state.stable, state.previous, now, rejected)
        return _change(next_state, ("rollback", state.candidate, reason), details)
    return roll_back_stable(state, now, reason, details)


def roll_back_stable(
    state: RolloutState, now: float, reason: str, details: Mapping[str, Any] = _NONE
) -> Change:
    """Return to the version that served before; a trial goes on.

    Raises:
        NotPossibleError: no version served before.
    """
    if state.stable is None or state.previous is None:
        raise NotPossibleError("no other version has served that could be returned to")
    next_state = dataclasses.replace(
        state,
        revision=state.revision + 1,
        stable=state.previous,
        previous=None,
        rejected=_with(state.rejected, state.stable),
    )
    return _change(next_state, ("rollback", state.stable, reason), details)


def role(state: RolloutState, version: int) -> str:
    """What a version is: "stable", "candidate", "previous", "rejected" or ""."""
    roles = {state.previous: "previous", state.candidate: "candidate", state.stable: "stable"}
    return roles.get(version, "rejected" if version in state.rejected else "")


def _full(
    state: RolloutState,
    stable: int | None,
    previous: int | None,
    now: float,
    rejected: tuple[int, ...],
) -> RolloutState:
    return RolloutState(
        state.model, state.revision + 1, stable, previous, None, FULL, now, rejected
    )


def _change(
    state: RolloutState,
    event: tuple[Action, int, str],
    details: Mapping[str, Any] = _NONE,
) -> Change:
    action, version, reason = event
    return Change(state, action, version, reason, dict(details))


def _with(versions: tuple[int, ...], version: int) -> tuple[int, ...]:
    return tuple(sorted({*versions, version}))
