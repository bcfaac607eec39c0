"""Polls the rollout state, so that requests do not query the database."""

import asyncio
import contextlib
import logging

from sqlalchemy.exc import SQLAlchemyError

from serving.rollout.state import RolloutState, RolloutStore

_log = logging.getLogger(__name__)

#: Interval between polls.
INTERVAL_SECONDS = 0.5


class RolloutReader:
    """Polls the state of a rollout; keeps the last one while the database is unavailable.

    Args:
        store: reads the state.
        model: name of the model.
    """

    def __init__(self, store: RolloutStore, model: str) -> None:
        self._store = store
        self._model = model
        self._task: asyncio.Task[None] | None = None
        self._away = False
        self.state: RolloutState | None = None

    async def start(self) -> None:
        """Read the state once, then poll in the background."""
        await self.read()
        self._task = asyncio.create_task(self._poll())

    async def read(self) -> None:
        """Read the state now."""
        try:
            self.state = await asyncio.to_thread(self._store.read, self._model)
            self._away = False
        except SQLAlchemyError:
            if not self._away:
                _log.warning("cannot read the rollout state; keeping the last one")
            self._away = True

    async def stop(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await self.read()
