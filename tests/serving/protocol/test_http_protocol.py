"""Limits on the request line and headers, in a real uvicorn in this process."""

import asyncio
import socket
import threading
from collections.abc import Iterator

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
READY = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(http_protocol, "MAX_HEAD_BYTES", 1000)
    listening = socket.create_server(("127.0.0.1", 0))
    application = RestApplication(
        InferenceService(FakeModels(fake_models.classifier())), Monitoring()
    )
    server = HttpServer(application, 1)
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
