"""Mirrors requests to the candidate in the background; no caller waits for it."""

import asyncio
import contextlib
import dataclasses
import logging
import sys
import time
from collections.abc import Sequence

from serving.client import ClientError
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.model_calls import ModelCalls
from serving.gateway.recorder import Recorder
from serving.records.tables import OK, ShadowPredictionRow

_log = logging.getLogger(__name__)

#: Maximum requests waiting for the candidate; further ones are dropped.
MAX_WAITING = 64
#: Maximum memory of their texts.
MAX_WAITING_BYTES = 64 * 2**20
#: Concurrent mirrored requests.
_WORKERS = 2


@dataclasses.dataclass(frozen=True)
class Mirrored:
    """A request to mirror.

    Attributes:
        version: the candidate.
        prediction_ids: ids of the stable version's predictions.
        texts: the classified texts.
    """

    version: int
    prediction_ids: Sequence[str]
    texts: Sequence[str]

    @property
    def text_bytes(self) -> int:
        """Memory of the texts."""
        return sum(map(sys.getsizeof, self.texts))


class Mirror:
    """Mirrors requests in the background.

    Args:
        calls: calls the model server.
        recorder: stores the candidate's predictions.
        metrics: counts mirrored calls.
        timeout_seconds: deadline of one mirrored call.
    """

    def __init__(
        self,
        calls: ModelCalls,
        recorder: Recorder,
        metrics: GatewayMetrics,
        timeout_seconds: float,
    ) -> None:
        self._calls = calls
        self._recorder = recorder
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds
        self._queue: asyncio.Queue[Mirrored] = asyncio.Queue(MAX_WAITING)
        self._waiting_bytes = 0
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the background workers."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(_WORKERS)]

    def send(self, mirrored: Mirrored) -> None:
        """Mirror a request if the queue has room; never wait."""
        size = mirrored.text_bytes
        if self._queue.full() or self._waiting_bytes + size > MAX_WAITING_BYTES:
            self._metrics.shadow.labels("dropped").inc()
            return
        self._queue.put_nowait(mirrored)
        self._waiting_bytes += size

    async def stop(self) -> None:
        """Stop the workers; waiting requests are not mirrored."""
        for worker in self._workers:
            worker.cancel()
        for worker in self._workers:
            with contextlib.suppress(asyncio.CancelledError):
                await worker

    async def _work(self) -> None:
        while True:
            mirrored = await self._queue.get()
            self._waiting_bytes -= mirrored.text_bytes
            try:
                self._recorder.record(await self._ask(mirrored))
            except Exception:  # a dead worker would silently end the shadow stage
                _log.exception("mirroring a request failed")

    async def _ask(self, mirrored: Mirrored) -> list[ShadowPredictionRow]:
        started = time.monotonic()
        status, answers = OK, None
        try:
            answers = await self._calls.predict(
                mirrored.version, mirrored.texts, self._timeout_seconds
            )
        except ClientError as error:
            status = error.code.name
        self._metrics.shadow.labels("mirrored" if answers else "failed").inc()
        latency_ms = (time.monotonic() - started) * 1000
        return [
            ShadowPredictionRow(
                prediction_id=prediction_id,
                model_version=mirrored.version,
                created=time.time(),
                status=status,
                latency_ms=latency_ms,
                label=answers[position].label if answers else None,
                score=answers[position].score if answers else None,
            )
            for position, prediction_id in enumerate(mirrored.prediction_ids)
        ]
