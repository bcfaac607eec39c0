"""Shows the candidate what the stable version answered, without anybody waiting for it."""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Sequence

from serving.client import ClientError
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.model_calls import ModelCalls
from serving.gateway.recorder import Recorder
from serving.records.tables import OK, ShadowPredictionRow

_log = logging.getLogger(__name__)

#: Requests that wait for the candidate; beyond, they are not mirrored.
MAX_WAITING = 64
#: Mirrored requests under way.
_WORKERS = 2


@dataclasses.dataclass(frozen=True)
class Mirrored:
    """One answered request.

    Attributes:
        version: the candidate.
        prediction_ids: of the stable answers.
        texts: that were answered.
    """

    version: int
    prediction_ids: Sequence[str]
    texts: Sequence[str]


class Mirror:
    """Mirrors requests in the background.

    Args:
        calls: of the model server.
        recorder: takes the candidate's answers.
        metrics: count them.
        timeout_seconds: of one mirrored call.
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
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(_WORKERS)]

    def send(self, mirrored: Mirrored) -> None:
        """Mirror a request, if there is room; never waits."""
        try:
            self._queue.put_nowait(mirrored)
        except asyncio.QueueFull:
            self._metrics.shadow.labels("dropped").inc()

    async def stop(self) -> None:
        """End; what waits is not mirrored."""
        for worker in self._workers:
            worker.cancel()
        for worker in self._workers:
            with contextlib.suppress(asyncio.CancelledError):
                await worker

    async def _work(self) -> None:
        while True:
            mirrored = await self._queue.get()
            try:
                self._recorder.record(await self._ask(mirrored))
            except Exception:  # a worker that ends would end the shadow stage in silence
                _log.exception("mirroring failed")

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
