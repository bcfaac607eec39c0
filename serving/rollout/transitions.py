"""State transitions of a rollout, as pure functions from state to change.

::

    (none) --adopt--> full --start--> loading -> shadow -> canary --promote--> full
                        ^                |         |          |
                        '----------------'-rollback-----------'      full --rollback--> full

Invariants: there is at most one candidate; no rejected version serves; a rollback of the stable
version returns to the previous one.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from serving.rollout.state import FULL, LOADING, Change, RolloutState, Stage

_NONE: Mapping[str, Any] = {}


class NotPossibleError(Exception):
    """The state does not allow the transition; the message says why."""


def adopt(model: str, version: int, now: float, reason: str) -> Change:
    """Give a first version all traffic."""
    state = RolloutState(model, 1, version, stage=FULL, stage_started=now)
    return Change(state, "adopt", version, reason)


def replace_failed(state: RolloutState, version: int, now: float, reason: str) -> Change:
    """Replace a stable version that cannot be loaded and has no previous version.

    Raises:
        NotPossibleError: there is no stable version or there is a previous one, or the replacement
            was rejected or is the version that fails.
    """
    if state.stable is None or state.previous is not None:
        raise NotPossibleError("there is a previous version to roll back to, or no stable version")
    if version == state.stable or version in state.rejected:
        raise NotPossibleError(f"version {version} was rolled back, or is the one that fails")
    rejected = _with(state.rejected, state.stable)
    return Change(_full(state, version, None, now, rejected), "adopt", version, reason)


def start(
    state: RolloutState, version: int, now: float, reason: str, *, again: bool = False
) -> Change:
    """Start the trial of a version; another candidate is superseded, not rejected.

    Args:
        state: state of the rollout.
        version: the new candidate, which starts in the stage "loading".
        now: seconds since 1970.
        reason: one sentence.
        again: start it even if it was rejected.

    Raises:
        NotPossibleError: the version is stable, the candidate, or rejected.
    """
    if version in (state.stable, state.candidate):
        raise NotPossibleError(f"version {version} is already {role(state, version)}")
    if version in state.rejected and not again:
        raise NotPossibleError(f"version {version} was rolled back")
    next_state = dataclasses.replace(
        state,
        revision=state.revision + 1,
        # A version on trial is not one to roll back to.
        previous=None if version == state.previous else state.previous,
        candidate=version,
        stage=LOADING,
        stage_started=now,
        rejected=tuple(each for each in state.rejected if each != version),
    )
    return Change(next_state, "start", version, reason)


def advance(
    state: RolloutState,
    stage: Stage,
    now: float,
    reason: str,
    details: Mapping[str, Any] = _NONE,
) -> Change:
    """Advance the candidate to its next stage.

    Raises:
        NotPossibleError: there is no candidate.
    """
    if state.candidate is None:
        raise NotPossibleError("there is no candidate")
    next_state = dataclasses.replace(
        state, revision=state.revision + 1, stage=stage, stage_started=now
    )
    return Change(next_state, "advance", state.candidate, reason, details)


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
        state: state of the rollout.
        version: the candidate, or any version that a person chose, even a rejected one.
        now: seconds since 1970.
        reason: one sentence.
        details: the figures behind it.
        unwanted: versions to reject; without it, newer versions would start again at once when
            an older one is chosen.

    Raises:
        NotPossibleError: it is the stable version.
    """
    if version == state.stable:
        raise NotPossibleError(f"version {version} is already the stable version")
    rejected = tuple(sorted({*state.rejected, *unwanted} - {version}))
    previous = state.stable if state.stable not in rejected else None
    next_state = _full(state, version, previous, now, rejected)
    return Change(next_state, "promote", version, reason, details)


def roll_back(
    state: RolloutState, now: float, reason: str, details: Mapping[str, Any] = _NONE
) -> Change:
    """Reject the candidate; without one, return to the previous version.

    Raises:
        NotPossibleError: there is neither.
    """
    if state.candidate is not None:
        rejected = _with(state.rejected, state.candidate)
        next_state = _full(state, state.stable, state.previous, now, rejected)
        return Change(next_state, "rollback", state.candidate, reason, details)
    return roll_back_stable(state, now, reason, details)


def roll_back_stable(
    state: RolloutState, now: float, reason: str, details: Mapping[str, Any] = _NONE
) -> Change:
    """Return to the previous version; a trial continues.

    Raises:
        NotPossibleError: there is no previous version.
    """
    if state.stable is None or state.previous is None:
        raise NotPossibleError("there is no previous version to roll back to")
    next_state = dataclasses.replace(
        state,
        revision=state.revision + 1,
        stable=state.previous,
        previous=None,
        rejected=_with(state.rejected, state.stable),
    )
    return Change(next_state, "rollback", state.stable, reason, details)


def role(state: RolloutState, version: int) -> str:
    """Return a version's role: "stable", "candidate", "previous", "rejected" or ""."""
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


def _with(versions: tuple[int, ...], version: int) -> tuple[int, ...]:
    return tuple(sorted({*versions, version}))
