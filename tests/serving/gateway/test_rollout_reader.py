import asyncio

import pytest
from sqlalchemy.exc import OperationalError

from serving.gateway import rollout_reader
from serving.gateway.rollout_reader import RolloutReader
from serving.rollout.state import RolloutState

STATE = RolloutState("default", 1, stable=7)


class Store:
    """Returns one state after another; None is an unavailable database."""

    def __init__(self, *states: RolloutState | None) -> None:
        self.states = list(states)

    def read(self, model: str) -> RolloutState:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state is None:
            raise OperationalError("SELECT", {}, OSError("away"))
        return state


def test_last_state_is_kept_while_the_database_is_unavailable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        reader = RolloutReader(Store(STATE, None, None, STATE), "default")
        for _ in range(4):
            await reader.read()
            assert reader.state == STATE

    asyncio.run(main())
    assert len(caplog.records) == 1, "warned once"


def test_new_state_is_polled_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_reader, "INTERVAL_SECONDS", 0.001)
    later = RolloutState("default", 2, stable=8)

    async def main() -> None:
        reader = RolloutReader(Store(STATE, later), "default")
        await reader.stop()  # not started: nothing to stop
        await reader.start()
        async with asyncio.timeout(30):
            while reader.state != later:
                await asyncio.sleep(0.001)
        await reader.stop()

    asyncio.run(main())
