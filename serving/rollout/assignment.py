"""Assigns requests to versions. Pure, and the same in every gateway."""

import dataclasses
import hashlib
from typing import Literal

from serving.rollout.state import CANARY, SHADOW, RolloutState


@dataclasses.dataclass(frozen=True)
class Assignment:
    """The versions assigned to a request.

    Attributes:
        version: the version to call; None is the newest on the server.
        role: its role, as in ``PredictionRow.role``.
        shadow: a version to call as well, whose answer is recorded but not returned.
    """

    version: int | None
    role: Literal["stable", "canary"] = "stable"
    shadow: int | None = None


def assign(state: RolloutState | None, sticky_key: str, canary_share: float) -> Assignment:
    """Assign versions to a request.

    Args:
        state: state of the rollout; None without one.
        sticky_key: identifies the caller, who stays with the same version as long as a candidate
            is a canary; another candidate draws other callers.
        canary_share: the canary's share of the callers, 0 to 1.
    """
    if state is None or state.stable is None:
        return Assignment(None)
    if state.candidate is None:
        return Assignment(state.stable)
    if state.stage == SHADOW:
        return Assignment(state.stable, shadow=state.candidate)
    if state.stage == CANARY and _draw(state, sticky_key) < canary_share:
        return Assignment(state.candidate, "canary")
    return Assignment(state.stable)


def _draw(state: RolloutState, sticky_key: str) -> float:
    """Return a number in [0, 1), uniform over callers, fixed for a caller and a candidate."""
    words = f"{state.model}\0{state.candidate}\0{sticky_key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(words).digest()[:8], "big") / 2**64
