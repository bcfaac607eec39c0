"""Calls to the model server, with deadlines, retries and a circuit breaker per version."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from serving.client import (
    AsyncClient,
    ClientError,
    DeadlineExceededError,
    Prediction,
    UnexpectedAnswerError,
)
from serving.gateway.circuit_breaker import CircuitBreaker
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.model_files import ModelFiles
from serving.gateway.settings import GatewaySettings
from serving.protocol.errors import Code
from serving.protocol.servable import State

#: Versions with an open connection; a rollout has at most three.
_MAX_CLIENTS = 8
#: Concurrent requests to one version; with REST, connections.
_CONCURRENCY = 16
#: How long the newest version is cached.
_STATUS_SECONDS = 0.5
#: Codes that blame the server, not the request.
_FAULTS = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS)


class CircuitOpenError(ClientError):
    """The version's circuit breaker is open; nothing was sent."""

    def __init__(self, version: int, retry_after: float) -> None:
        message = f"version {version} failed repeatedly; calls to it are paused"
        super().__init__(Code.UNAVAILABLE, message, retry_after)


class ModelCalls:
    """Calls to the versions of one model.

    Args:
        settings: the gateway's settings.
        files: reads the labels of versions.
        metrics: counts the calls.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        files: ModelFiles,
        metrics: GatewayMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._files = files
        self._metrics = metrics
        self._clock = clock
        self._clients: OrderedDict[tuple[int, tuple[str, ...]], AsyncClient] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._breakers: dict[int, CircuitBreaker] = {}
        self._status_client = self._client(None)
        self._status_lock = asyncio.Lock()
        self._newest: tuple[int, float] | None = None

    async def predict(self, version: int, texts: Sequence[str], seconds: float) -> list[Prediction]:
        """Classify texts with one version.

        Args:
            version: its number.
            texts: to classify.
            seconds: deadline, including retries.

        Returns:
            Predictions in the order of the texts.

        Raises:
            CircuitOpenError: the version's circuit breaker is open.
            ClientError: the call failed.
        """
        breaker = self._breaker(version)
        if not breaker.allow():
            raise CircuitOpenError(version, breaker.retry_after())
        started, code = self._clock(), Code.OK
        try:
            async with asyncio.timeout(seconds):
                answers = await self._of(version).predict(texts)
            _check_numbers(answers)
        except TimeoutError as error:
            code = Code.DEADLINE_EXCEEDED
            raise DeadlineExceededError(f"no complete response within {seconds:.3g} s") from error
        except ClientError as error:
            code = error.code
            raise
        except BaseException:  # the caller disconnected
            code = Code.CANCELLED
            raise
        finally:
            self._count(version, breaker, code, self._clock() - started)
        return answers

    async def newest(self, *, ask: bool = False) -> int:
        """Return the newest available version; the last known one if the server does not answer.

        Args:
            ask: bypass the cache.

        Raises:
            ClientError: the server never reported an available version.
        """
        async with self._status_lock:
            known = self._newest
            if known and not ask and self._clock() - known[1] < _STATUS_SECONDS:
                return known[0]
            try:
                version = await self._ask_newest()
            except ClientError:
                if known is None:
                    raise
                version = known[0]
            self._newest = (version, self._clock())
            return version

    async def available(self) -> list[int]:
        """Return the available versions, newest first, without a cache.

        Raises:
            ClientError: the call failed.
            TimeoutError: the server did not answer in time.
        """
        async with asyncio.timeout(self._settings.timeout_seconds):
            statuses = await self._status_client.status()
        return sorted((s.version for s in statuses if s.state is State.AVAILABLE), reverse=True)

    async def close(self) -> None:
        """Close all connections."""
        for closing in self._closing:
            closing.cancel()
        for client in (self._status_client, *self._clients.values()):
            await client.close()

    async def _ask_newest(self) -> int:
        try:
            versions = await self.available()
        except TimeoutError as error:
            message = "the model server did not report its versions in time"
            raise DeadlineExceededError(message) from error
        if not versions:
            raise ClientError(Code.UNAVAILABLE, "the model server has no available version", 1)
        return versions[0]

    def _count(self, version: int, breaker: CircuitBreaker, code: Code, seconds: float) -> None:
        if code in _FAULTS:
            breaker.failed()
        elif code is Code.CANCELLED:
            breaker.release()
        else:
            breaker.succeeded()
        name = str(version)
        self._metrics.model_calls.labels(name, code.name).inc()
        self._metrics.model_seconds.labels(name).observe(seconds)
        self._metrics.breaker_open.labels(name).set(breaker.state != "closed")

    def _breaker(self, version: int) -> CircuitBreaker:
        if version not in self._breakers:
            self._breakers[version] = CircuitBreaker(
                self._settings.breaker_failures, self._settings.breaker_seconds, self._clock
            )
        return self._breakers[version]

    def _of(self, version: int) -> AsyncClient:
        key = (version, self._files.labels(version))  # labels may become readable later
        if key in self._clients:
            self._clients.move_to_end(key)
        else:
            self._clients[key] = self._client(version)
            if len(self._clients) > _MAX_CLIENTS:
                _, oldest = self._clients.popitem(last=False)
                closing = asyncio.create_task(self._close_later(oldest))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
        return self._clients[key]

    async def _close_later(self, client: AsyncClient) -> None:
        """Close a client when its running calls must have ended."""
        await asyncio.sleep(self._settings.timeout_seconds)
        await client.close()

    def _client(self, version: int | None) -> AsyncClient:
        return AsyncClient(
            self._settings.server_url,
            model=self._settings.model_name,
            version=version,
            labels=self._files.labels(version) if version is not None else None,
            timeout=self._settings.timeout_seconds,
            retries=self._settings.retries,
            concurrency=_CONCURRENCY,
        )


def _check_numbers(answers: Sequence[Prediction]) -> None:
    """Refuse NaN, which a diverged model returns: neither JSON nor a rollout can hold it."""
    for answer in answers:
        if not all(map(math.isfinite, (answer.score, *answer.raw_scores))):
            raise UnexpectedAnswerError("the model returned scores that are not finite")
