"""Limits on the request line and headers, in a real uvicorn in this process."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.protocol import http_protocol
from serving.protocol.http_server import HttpServer
from serving.server.monitoring_config import Monitoring
from serving.server.requests.service import InferenceService
from serving.server.rest.rest import RestApplication
from tests.serving import fake_models
from tests.serving.fake_models import FakeModels

SECONDS = 30
KEEP_ALIVE, LINGER = 2, 0.5
READY = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(http_protocol, "MAX_HEAD_BYTES", 1000)
    monkeypatch.setattr(http_protocol, "MAX_TRAILER_BYTES", 100_000)
    monkeypatch.setattr(http_protocol, "LINGER_SECONDS", LINGER)
    listening = socket.create_server(("127.0.0.1", 0))
    application = RestApplication(
        InferenceService(FakeModels(fake_models.classifier())), Monitoring()
    )
    server = HttpServer(application, 1)
    server.config.timeout_keep_alive = KEEP_ALIVE
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    yield listening.getsockname()
    server.should_exit = True
    thread.join(SECONDS)


def _received(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("sent", [b"", b"GET /hea", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX:"])
def test_unfinished_headers_are_disconnected(address: tuple[str, int], sent: bytes) -> None:
    with socket.create_connection(address, SECONDS) as connection:
        connection.sendall(sent)
        assert _received(connection) == b""


def test_each_request_on_a_connection_has_its_own_time_limit(address: tuple[str, int]) -> None:
    with socket.create_connection(address, SECONDS) as connection:
        for _ in range(2):
            connection.sendall(READY)
            answer = b""
            while not answer.endswith(b"ok\n"):
                answer += connection.recv(65536)
        connection.sendall(b"GET /healthz")
        assert _received(connection) == b""


@pytest.mark.parametrize("start", [b"GET /", b"GET /healthz HTTP/1.1\r\nX: ", b"X" * 10])
def test_too_large_headers_are_refused(address: tuple[str, int], start: bytes) -> None:
    with socket.create_connection(address, SECONDS) as connection:
        connection.sendall(start + b"a" * 2000)
        status = int(_received(connection).split()[1])
    assert status in (400, 431)


def test_many_small_headers_are_refused(address: tuple[str, int]) -> None:
    with socket.create_connection(address, SECONDS) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n" + b"X: a\r\n" * 400)
        assert _received(connection).startswith(b"HTTP/1.1 431")


def test_long_body_does_not_count_as_headers(address: tuple[str, int]) -> None:
    body = b'{"instances": ["' + b"x" * 5000 + b'"]}'
    head = b"POST /v1/models/reviews:predict HTTP/1.1\r\nConnection: close\r\n"
    with socket.create_connection(address, SECONDS) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert _received(connection).startswith(b"HTTP/1.1 200")


CHUNKED = b"GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def _answer(connection: socket.socket, end: bytes = b"ok\n") -> bytes:
    answer = b""
    while not answer.endswith(end):
        part = connection.recv(65536)
        assert part, answer
        answer += part
    return answer


def _sent_until_closed(connection: socket.socket, piece: bytes, pause: float = 0) -> int:
    """Send the piece again and again until the server closes; return the number of bytes."""
    sent, until = 0, time.monotonic() + SECONDS
    connection.settimeout(0.001)
    while time.monotonic() < until:
        try:
            if connection.recv(65536) == b"":
                return sent
        except TimeoutError:
            pass
        except ConnectionError:
            return sent
        try:
            connection.sendall(piece)
        except ConnectionError:
            return sent
        sent += len(piece)
        time.sleep(pause)
    raise AssertionError("the server did not close the connection")


@pytest.mark.parametrize("start", [b"0\r\n", b"1\r\na\r\n0\r\n", b"5;ext="])
@pytest.mark.parametrize("piece", [b"X: " + b"a" * 50 + b"\r\n", b"a" * 1000])
def test_trailers_are_limited(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, start: bytes, piece: bytes
) -> None:
    monkeypatch.setattr(http_protocol, "LINGER_SECONDS", SECONDS)
    with socket.create_connection(address, SECONDS) as connection:
        connection.sendall(CHUNKED + start)
        _answer(connection)
        began = time.monotonic()
        _sent_until_closed(connection, piece * 20)
    assert time.monotonic() - began < SECONDS / 2


def test_trailers_before_the_response_are_limited(address: tuple[str, int]) -> None:
    head = CHUNKED.replace(b"GET /healthz", b"POST /v1/models/reviews:predict")
    with socket.create_connection(address, SECONDS) as connection:
        connection.sendall(head + b"2\r\n{}\r\n0\r\n")
        began = time.monotonic()
        _sent_until_closed(connection, b"X: a\r\n" * 1000)
    assert time.monotonic() - began < SECONDS / 2


def test_trailers_are_not_added_to_the_headers() -> None:
    requests: list[list[tuple[bytes, bytes]]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        requests.append(list(scope["headers"]))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    listening = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(application, 1)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    with socket.create_connection(listening.getsockname(), SECONDS) as connection:
        connection.sendall(CHUNKED + b"0\r\nX-API-Key: b\r\n\r\n")
        _answer(connection, b"\r\n\r\n")
    server.should_exit = True
    thread.join(SECONDS)
    assert [name for name, _ in requests[0]] == [b"host", b"transfer-encoding"]


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (CHUNKED, b"1\r\na\r\n"),
        (CHUNKED + b"0\r\n", b"X: a\r\n"),
        (READY.replace(b"\r\n\r\n", b"\r\nContent-Length: 99999999\r\n\r\n"), b"a"),
    ],
)
def test_response_before_the_end_of_the_body_closes_the_connection(
    address: tuple[str, int], start: bytes, piece: bytes
) -> None:
    with socket.create_connection(address, SECONDS) as connection:
        connection.sendall(start)
        _answer(connection)
        began = time.monotonic()
        _sent_until_closed(connection, piece, pause=LINGER / 10)
    assert time.monotonic() - began < SECONDS / 2


def test_body_that_ends_soon_after_the_response_keeps_the_connection(
    address: tuple[str, int],
) -> None:
    with socket.create_connection(address, SECONDS) as connection:
        for _ in range(3):
            connection.sendall(CHUNKED)
            _answer(connection)
            connection.sendall(b"2\r\nab\r\n0\r\n\r\n")
        time.sleep(2 * LINGER)
        connection.sendall(READY)
        _answer(connection)


@pytest.mark.parametrize("piece", [b"", b"\r\n"])
@pytest.mark.parametrize("request_", [READY, CHUNKED])
def test_line_breaks_do_not_keep_an_idle_connection(
    address: tuple[str, int], request_: bytes, piece: bytes
) -> None:
    with socket.create_connection(address, SECONDS) as connection:
        connection.sendall(request_)
        _answer(connection)
        if request_ is CHUNKED:
            connection.sendall(b"0\r\n\r\n")
        began = time.monotonic()
        _sent_until_closed(connection, piece, pause=KEEP_ALIVE / 10)
    assert time.monotonic() - began < SECONDS / 2


PIECES = [
    *(b"GET ", b"POST ", b"/healthz", b"/v1/models/reviews:predict", b"/%zz\xff", b" HTTP/1.1"),
    *(b"\r\n", b"\r\n\r\n", b"Host: a", b"Content-Length: ", b"5", b"-1", b"18446744073709551616"),
    *(b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", b"Expect: 100-continue"),
    *(b"Connection: upgrade", b"Upgrade: websocket", b"{", b'{"instances": ["a"]}', b"\x00", b"?"),
]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(pieces=st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=12))
def test_any_bytes_are_answered_or_close_the_connection(
    address: tuple[str, int], pieces: list[bytes]
) -> None:
    with socket.create_connection(address, SECONDS) as connection:
        connection.sendall(b"".join(pieces))
        connection.shutdown(socket.SHUT_WR)
        try:
            received = _received(connection)
        except ConnectionResetError:
            received = b""
    assert b"HTTP/1.1 500" not in received
    with socket.create_connection(address, SECONDS) as connection:
        connection.sendall(READY)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
