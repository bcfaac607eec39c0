"""Knows where the rollout stands, without a look at the database in each request."""

import asyncio
import contextlib
import logging

from sqlalchemy.exc import SQLAlchemyError

from serving.rollout.state import RolloutState, RolloutStore

_log = logging.getLogger(__name__)

#: Between two looks.
INTERVAL_SECONDS = 0.5


class RolloutReader:
    """Reads a rollout's state again and again; while the database is away, the last one stands.

    Args:
        store: of the states.
        model: whose rollout.
    """

    def __init__(self, store: RolloutStore, model: str) -> None:
        self._store = store
        self._model = model
        self._task: asyncio.Task[None] | None = None
        self._away = False
        self.state: RolloutState | None = None

    async def start(self) -> None:
        """Read once, then go on in the background."""
        await self.read()
        self._task = asyncio.create_task(self._poll())

    async def read(self) -> None:
        """Read now."""
        try:
            self.state = await asyncio.to_thread(self._store.read, self._model)
            self._away = False
        except SQLAlchemyError:
            if not self._away:
                _log.warning("the state of the rollout cannot be read; the last one stands")
            self._away = True

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await self.read()
