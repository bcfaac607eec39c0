"""Which version answers a request. Pure, and the same in every gateway."""

import dataclasses
import hashlib
from typing import Literal

from serving.rollout.state import CANARY, SHADOW, RolloutState


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Who answers one request.

    Attributes:
        version: the version to ask; None is the newest at the server.
        role: who that is, as ``Prediction.role``.
        shadow: a version to ask as well, whose answer is recorded and not returned.
    """

    version: int | None
    role: Literal["stable", "canary"] = "stable"
    shadow: int | None = None


def assign(state: RolloutState | None, sticky_key: str, canary_share: float) -> Assignment:
    """Choose who answers.

    Args:
        state: of the rollout; None when there is none.
        sticky_key: whose request it is. The same caller stays with the same version for as long
            as a candidate is a canary; another candidate draws other callers.
        canary_share: of the callers, 0 to 1.
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
    """A number from 0 up to 1, evenly spread over callers, fixed for caller and candidate."""
    words = f"{state.model}\0{state.candidate}\0{sticky_key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(words).digest()[:8], "big") / 2**64
