"""The parts of a running gateway, created once and shared by its routes."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from serving.feedback.store import FeedbackStore
from serving.gateway.authentication import Authenticator
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.mirror import Mirror
from serving.gateway.model_calls import ModelCalls
from serving.gateway.model_files import ModelFiles
from serving.gateway.rate_limits import RateLimiter
from serving.gateway.recorder import Recorder
from serving.gateway.rollout_reader import RolloutReader
from serving.gateway.service import PredictionService
from serving.gateway.settings import GatewaySettings
from serving.gateway.version_routing import VersionRouter
from serving.records.api_keys import ApiKeys
from serving.records.database import Database
from serving.rollout.state import RolloutStore

_log = logging.getLogger(__name__)

_DAY_SECONDS = 86_400.0
#: Interval between deletions of old predictions.
_RETENTION_SECONDS = 3600.0
#: How long shutdown waits for the last predictions to be written.
_LAST_WRITES_SECONDS = 5.0

#: Returns the metrics of a version on held-out data, by its number.
ReadEvaluation = Callable[[int], dict[str, Any]]


class Parts:
    """All parts; create it in the event loop that uses them.

    Args:
        settings: the gateway's settings.
        database: an open database; the caller closes it.
        read_evaluation: returns the evaluation of a version.

    Attributes:
        draining: whether the gateway is shutting down.
    """

    def __init__(
        self, settings: GatewaySettings, database: Database, read_evaluation: ReadEvaluation
    ) -> None:
        self.settings = settings
        self.database = database
        self.read_evaluation = read_evaluation
        self.draining = False
        self.store = FeedbackStore(database)
        self.files = ModelFiles(settings.push_directory)
        self.metrics = GatewayMetrics()
        self.calls = ModelCalls(settings, self.files, self.metrics)
        self.rollout = RolloutReader(RolloutStore(database), settings.model_name)
        self.recorder = Recorder(self.store, self.metrics)
        self.mirror = Mirror(self.calls, self.recorder, self.metrics, settings.timeout_seconds)
        self.service = PredictionService(
            VersionRouter(self.calls, self.rollout, settings),
            self.recorder,
            self.mirror,
            self.metrics,
            settings,
        )
        self.authenticator = Authenticator(ApiKeys(database), settings)
        self.limiter = RateLimiter(settings.requests_per_minute)
        self._cleaning: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the background tasks."""
        if self.settings.rollouts:
            await self.rollout.start()
        self.recorder.start()
        self.mirror.start()
        self._cleaning = asyncio.create_task(self._clean())

    async def stop(self) -> None:
        """Write the pending predictions, and stop."""
        if self._cleaning is not None:
            self._cleaning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._cleaning
        await self.mirror.stop()
        await self.rollout.stop()
        await asyncio.to_thread(self.recorder.stop, _LAST_WRITES_SECONDS)
        await self.calls.close()

    async def _clean(self) -> None:
        while True:
            before = time.time() - self.settings.retention_days * _DAY_SECONDS
            try:
                count = await asyncio.to_thread(self.store.delete_old, before)
                if count:
                    _log.info("deleted %d old predictions without feedback", count)
            except SQLAlchemyError:
                _log.warning("cannot delete old predictions; trying again in an hour")
            await asyncio.sleep(_RETENTION_SECONDS)
