"""Chooses the version by the rollout state, and falls back to stable when a canary fails."""

import dataclasses
import time
from collections.abc import Sequence

from serving.client import ClientError, Prediction
from serving.gateway.model_calls import ModelCalls
from serving.gateway.rollout_reader import RolloutReader
from serving.gateway.settings import GatewaySettings
from serving.protocol.errors import Code
from serving.records.tables import CANARY, STABLE
from serving.rollout.assignment import assign

#: Share of the deadline for a canary, so that the stable version can still answer.
_CANARY_SHARE_OF_TIME = 0.5
#: Codes of a version that may have been replaced since its number was read.
_GONE = (Code.NOT_FOUND, Code.UNAVAILABLE, Code.FAILED_PRECONDITION)


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One version's attempt at a request.

    Attributes:
        version: its number.
        role: ``STABLE`` or ``CANARY``.
        seconds: how long it took.
        error: why it failed; None when it answered.
        predictions: in the order of the texts; empty when it failed.
    """

    version: int
    role: str
    seconds: float
    error: ClientError | None = None
    predictions: Sequence[Prediction] = ()


@dataclasses.dataclass(frozen=True)
class Routed:
    """The attempts at a request.

    Attributes:
        attempts: the last one counts; a canary's failure may precede it.
        shadow: version to mirror the texts to; None for none.
    """

    attempts: Sequence[Attempt]
    shadow: int | None


class VersionRouter:
    """Routes requests to versions.

    Args:
        calls: calls the model server.
        rollout: the state of the rollout.
        settings: the gateway's settings.
    """

    def __init__(
        self, calls: ModelCalls, rollout: RolloutReader, settings: GatewaySettings
    ) -> None:
        self._calls = calls
        self._rollout = rollout
        self._settings = settings

    async def route(self, texts: Sequence[str], sticky_key: str) -> Routed:
        """Classify texts with the version assigned to a caller.

        Args:
            texts: to classify.
            sticky_key: pins the caller to one version throughout a stage.

        Raises:
            ClientError: no version is known, so none was called.
        """
        deadline = time.monotonic() + self._settings.timeout_seconds
        assigned = assign(self._rollout.state, sticky_key, self._settings.canary_share)
        version = assigned.version
        failed: list[Attempt] = []
        if assigned.role == CANARY and version is not None:
            share = self._settings.timeout_seconds * _CANARY_SHARE_OF_TIME
            attempt = await self._try(version, CANARY, texts, time.monotonic() + share)
            if attempt.error is None or attempt.error.code is Code.INVALID_ARGUMENT:
                return Routed([attempt], None)
            failed.append(attempt)
            version = self._stable()
        answer = await self._ask_stable(version, texts, deadline)
        return Routed([*failed, answer], assigned.shadow if answer.error is None else None)

    def _stable(self) -> int | None:
        state = self._rollout.state
        return None if state is None else state.stable

    async def _ask_stable(
        self, version: int | None, texts: Sequence[str], deadline: float
    ) -> Attempt:
        """Call the stable version; if it is gone, the one that replaced it.

        Right after a forced promotion, the server may still hold only the previous version.
        """
        asked = await self._calls.newest() if version is None else version
        attempt = await self._try(asked, STABLE, texts, deadline)
        if attempt.error is None or attempt.error.code not in _GONE:
            return attempt
        now = await self._current_stable()
        if now == asked and self._rollout.state is not None:
            now = self._rollout.state.previous
        if now is None or now == asked:
            return attempt
        return await self._try(now, STABLE, texts, deadline)

    async def _current_stable(self) -> int | None:
        await self._rollout.read()
        stable = self._stable()
        if stable is not None:
            return stable
        try:
            return await self._calls.newest(ask=True)
        except ClientError:
            return None

    async def _try(self, version: int, role: str, texts: Sequence[str], deadline: float) -> Attempt:
        started = time.monotonic()
        try:
            predictions = await self._calls.predict(version, texts, max(0.0, deadline - started))
        except ClientError as error:
            return Attempt(version, role, time.monotonic() - started, error)
        return Attempt(version, role, time.monotonic() - started, None, predictions)
