"""The bound on connections, and the log of refused ones."""

import asyncio
import errno
import logging
import resource
import socket
import threading
from typing import Any

import pytest

from serving.protocol import connections
from serving.protocol.connections import BoundedServerState
from serving.protocol.http_server import HttpServer, loop_factory

SECONDS = 30
READY = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def _application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _answers(connection: socket.socket) -> bool:
    try:
        connection.sendall(READY)
        return connection.recv(65536).startswith(b"HTTP/1.1 204")
    except ConnectionError:
        return False


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, loop_factory()])
def test_connections_above_the_bound_are_closed_and_counted_in_few_lines(
    loop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(_application, 1, max_connections=2)

    def serve() -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(server.serve([listening]))

    thread = threading.Thread(target=serve)
    thread.start()
    address = listening.getsockname()
    first, second = (socket.create_connection(address, SECONDS) for _ in range(2))
    assert _answers(first)
    assert _answers(second)
    for _ in range(50):
        with socket.create_connection(address, SECONDS) as refused:
            assert not _answers(refused)
    assert _answers(first)
    second.close()
    while not _answers(third := socket.create_connection(address, SECONDS)):
        third.close()
    first.close()
    third.close()
    server.should_exit = True
    thread.join(SECONDS)
    lines = [record for record in caplog.records if record.name == connections.__name__]
    assert 1 <= len(lines) <= 5
    assert "2 are open, which is the maximum" in lines[0].getMessage()


def test_missing_descriptors_are_one_line_a_second(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_LOG_SECONDS", 0.05)
    state = BoundedServerState(10)

    async def exhaust() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(state.handle_exception)
        error = OSError(errno.EMFILE, "Too many open files")
        for _ in range(1000):
            loop.call_exception_handler({"message": "socket.accept()", "exception": error})
        await asyncio.sleep(0.2)

    with caplog.at_level(logging.WARNING):
        asyncio.run(exhaust())
    counts = [record.getMessage().split(";")[0] for record in caplog.records]
    assert counts == ["refused connections: 1", "refused connections: 999"]


def test_other_exceptions_of_the_loop_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(BoundedServerState(10).handle_exception)
        loop.call_exception_handler({"message": "wrong", "exception": ValueError("reason")})

    asyncio.run(fail())
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("asyncio", "wrong")
    ]


@pytest.mark.parametrize(
    ("limit", "bound"),
    [(1024, 768), (256, 128), (10**6, 10_000), (resource.RLIM_INFINITY, 10_000)],
)
def test_bound_leaves_descriptors_for_other_uses(
    monkeypatch: pytest.MonkeyPatch, limit: int, bound: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert connections.default_bound() == bound
