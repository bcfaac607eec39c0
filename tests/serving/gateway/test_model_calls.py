"""Calls to the model server: the effect of each outcome on the version's circuit breaker."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from serving.client import ClientError, DeadlineExceededError, UnexpectedAnswerError
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.model_calls import CircuitOpenError, ModelCalls
from serving.gateway.model_files import ModelFiles
from serving.gateway.settings import GatewaySettings
from serving.protocol.errors import Code
from tests.serving.client import client_stubs
from tests.serving.client.client_stubs import Fault, Stub, grpc_stub

T = TypeVar("T")
Run = Callable[[Callable[[ModelCalls], Awaitable[T]]], T]


@pytest.fixture
def stub() -> Iterator[Stub]:
    with grpc_stub() as stub:
        yield stub


@pytest.fixture
def run(stub: Stub) -> Run:
    """Run a coroutine with calls to the stub, and close them."""

    def run(use: Callable[[ModelCalls], Awaitable[T]]) -> T:
        settings = GatewaySettings(
            database_url="",
            push_directory="",
            server_url=stub.url,
            retries=0,
            timeout_seconds=20.0,
            breaker_failures=1,
        )

        async def main() -> T:
            calls = ModelCalls(settings, ModelFiles(""), GatewayMetrics())
            try:
                return await use(calls)
            finally:
                await calls.close()

        return asyncio.run(main())

    return run


def test_call_that_takes_too_long_opens_the_breaker(run: Run, stub: Stub) -> None:
    stub.gate.clear()

    async def use(calls: ModelCalls) -> None:
        with pytest.raises(DeadlineExceededError):
            await calls.predict(7, ["a"], 0.05)
        with pytest.raises(CircuitOpenError) as caught:
            await calls.predict(7, ["a"], 0.05)
        assert caught.value.retry_after_seconds > 0

    run(use)
    assert len(stub.calls) <= 1


def test_disconnected_caller_does_not_count_as_a_failure(run: Run, stub: Stub) -> None:
    stub.gate.clear()

    async def use(calls: ModelCalls) -> None:
        call = asyncio.create_task(calls.predict(7, ["a"], 20.0))
        while not stub.calls:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        stub.gate.set()
        [answer] = await calls.predict(7, ["good"], 20.0)
        assert answer.label == "good"

    run(use)


def test_scores_that_are_not_finite_are_refused(run: Run, stub: Stub) -> None:
    stub.outputs = lambda _: {"scores": [[math.nan, 1.0]], "label": ["bad"], "score": [1.0]}
    with pytest.raises(UnexpectedAnswerError):
        run(lambda calls: calls.predict(7, ["a"], 20.0))


def test_newest_version_is_cached_while_the_server_is_unavailable(run: Run, stub: Stub) -> None:
    async def use(calls: ModelCalls) -> None:
        assert await calls.newest() == 7
        asked = len(stub.calls)
        assert await calls.newest() == 7
        assert len(stub.calls) == asked, "it is cached"
        stub.always = Fault(Code.UNAVAILABLE)
        assert await calls.newest(ask=True) == 7
        assert len(stub.calls) == asked + 1

    run(use)


def test_server_that_never_answered_has_no_newest_version(run: Run, stub: Stub) -> None:
    stub.always = Fault(Code.UNAVAILABLE)
    with pytest.raises(ClientError):
        run(lambda calls: calls.newest())


def test_connections_to_old_versions_are_closed(run: Run) -> None:
    async def use(calls: ModelCalls) -> None:
        for version in range(1, 12):
            [answer] = await calls.predict(version, ["good"], 20.0)
            assert answer.label == "good"
        [answer] = await calls.predict(1, ["bad"], 20.0)
        assert answer.label == "bad"

    run(use)


def test_server_without_an_available_version_has_no_newest(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_stubs, "STATUS", [(8, "LOADING", "OK", "")])
    with pytest.raises(ClientError) as caught:
        run(lambda calls: calls.newest())
    assert caught.value.code is Code.UNAVAILABLE
