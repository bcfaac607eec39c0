"""Raw sockets: requests that no HTTP library sends."""

import json
import os
import socket
from collections.abc import Iterator

import psutil
import pytest

from tests.serving.server.conformance.server_process import Server

PREDICT = b"POST /v1/models/default:predict HTTP/1.1\r\nHost: a\r\n"
BODY = b'{"instances": [1]}'
SECONDS = 60
MEBIBYTE = 1024 * 1024


@pytest.fixture
def connection(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(server.address, SECONDS) as opened:
        yield opened


def _request(body: bytes = BODY, *headers: bytes) -> bytes:
    lines = [b"Content-Length: %d" % len(body), *headers]
    return PREDICT + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def _answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read the next response: status, headers, body."""
    reader = connection.makefile("rb")
    status = int(reader.readline().split()[1])
    headers = {}
    while (line := reader.readline().strip()) != b"":
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, reader.read(int(headers.get("content-length", 0)))


def _alive(server: Server) -> bool:
    with socket.create_connection(server.address, SECONDS) as opened:
        opened.sendall(_request())
        return _answer(opened)[0] == 200


def test_connection_is_kept_alive(connection: socket.socket) -> None:
    for _ in range(3):
        connection.sendall(_request())
        status, _, body = _answer(connection)
        assert (status, json.loads(body)) == (200, {"predictions": [2.5]})


def test_error_keeps_the_connection(connection: socket.socket) -> None:
    connection.sendall(_request(b"{"))
    assert _answer(connection)[0] == 400
    connection.sendall(_request())
    assert _answer(connection)[0] == 200


def test_connection_close_is_honoured(connection: socket.socket) -> None:
    connection.sendall(_request(BODY, b"Connection: close"))
    assert _answer(connection)[0] == 200
    assert connection.recv(1) == b""


def test_http_1_0_closes_the_connection(connection: socket.socket) -> None:
    connection.sendall(_request().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert _answer(connection)[0] == 200


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    if server.stock:
        pytest.skip("libevent does not promise pipelining")
    with socket.create_connection(server.address, SECONDS) as connection:
        connection.sendall(b"".join(_request(b'{"instances": [%d]}' % n) for n in range(5)))
        reader = connection.makefile("rb")
        answers = []
        while len(answers) < 5:
            line = reader.readline()
            if line.startswith(b'    "predictions"'):
                answers.append(float(line.split(b"[")[1]))
        assert answers == [n / 2 + 2 for n in range(5)]


def test_request_may_arrive_byte_by_byte(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in _request():
        connection.sendall(bytes([byte]))
    assert _answer(connection)[0] == 200


def test_expect_continue_is_honoured(connection: socket.socket) -> None:
    head = _request(BODY, b"Expect: 100-continue")
    connection.sendall(head[: -len(BODY)])
    assert connection.recv(MEBIBYTE).startswith(b"HTTP/1.1 100")
    connection.sendall(BODY)
    assert _answer(connection)[0] == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"POST /v1/models/default:predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/models/default:predict HTTP/1.1\r\nContent-Length: abc\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"NOPE /v1/models/default HTTP/1.1\r\n\r\n",
        b"GET /v1/models/default HTTP/9.9\r\n\r\n",
    ],
)
def test_bytes_that_are_not_http_are_refused(server: Server, data: bytes) -> None:
    with socket.create_connection(server.address, SECONDS) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = connection.recv(MEBIBYTE)
    assert received == b"" or 400 <= int(received.split()[1]) < 506
    assert _alive(server)


def test_half_closed_connections_are_cleaned_up(server: Server) -> None:
    for _ in range(100):
        with socket.create_connection(server.address, SECONDS) as connection:
            connection.sendall(PREDICT + b"Content-Length: 1000\r\n\r\n{")
            connection.shutdown(socket.SHUT_WR)
            connection.recv(MEBIBYTE)
    assert _alive(server)


def _resident(server: Server) -> int:
    assert server.process is not None
    return psutil.Process(server.process.pid).memory_info().rss


@pytest.fixture
def own_server(server: Server) -> Server:
    if server.stock:
        pytest.skip("the stock server does not have these limits")
    return server


def test_too_large_body_is_refused_before_it_is_read(own_server: Server) -> None:
    with socket.create_connection(own_server.address, SECONDS) as connection:
        connection.sendall(PREDICT + b"Content-Length: %d\r\n\r\n" % (100 * MEBIBYTE))
        status, _, body = _answer(connection)
    assert status == 413
    assert "larger than 33554432 bytes" in json.loads(body)["error"]


@pytest.mark.slow
@pytest.mark.parametrize("chunked", [False, True])
def test_refusing_a_body_of_100_mb_needs_no_memory(own_server: Server, chunked: bool) -> None:
    before = _resident(own_server)
    part = b" " * MEBIBYTE
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (100 * MEBIBYTE)
    highest = before
    with socket.create_connection(own_server.address, SECONDS) as connection:
        connection.sendall(PREDICT + length + b"\r\n\r\n")
        for _ in range(100):
            try:
                connection.sendall(b"%x\r\n%s\r\n" % (MEBIBYTE, part) if chunked else part)
            except (BrokenPipeError, ConnectionResetError):
                break
            highest = max(highest, _resident(own_server))
        assert _answer(connection)[0] == 413
    assert highest - before < 120 * MEBIBYTE
    assert _alive(own_server)


@pytest.mark.slow
def test_json_may_be_nested_a_million_levels_deep(server: Server) -> None:
    depth = 1_000_000
    body = b'{"instances": ' + b"[" * depth + b"]" * depth + b"}"
    with socket.create_connection(server.address, SECONDS) as connection:
        connection.sendall(_request(body))
        assert _alive(server), "other requests are answered during that time"
        assert _answer(connection)[0] == 400


@pytest.mark.slow
def test_gzip_bomb_is_refused(own_server: Server) -> None:
    import gzip

    before = _resident(own_server)
    packed = gzip.compress(b" " * (200 * MEBIBYTE), 6)
    with socket.create_connection(own_server.address, SECONDS) as connection:
        connection.sendall(_request(packed, b"Content-Encoding: gzip"))
        assert _answer(connection)[0] == 413
    assert _resident(own_server) - before < 150 * MEBIBYTE


def test_endless_headers_are_refused(own_server: Server) -> None:
    with socket.create_connection(own_server.address, SECONDS) as connection:
        connection.sendall(b"GET /v1/models/default HTTP/1.1\r\nX: " + b"a" * (80 * 1024))
        status, _, _ = _answer(connection)
    assert status == 431


def test_endless_path_is_refused(own_server: Server) -> None:
    with socket.create_connection(own_server.address, SECONDS) as connection:
        connection.sendall(b"GET /" + b"a" * (80 * 1024))
        assert _answer(connection)[0] == 431


def test_idle_connections_do_not_stop_others(server: Server) -> None:
    opened = []
    try:
        for number in range(200):
            opened.append(socket.create_connection(server.address, SECONDS))
            opened[-1].sendall(PREDICT if number % 2 else PREDICT + b"Content-Length: 9\r\n\r\n{")
        assert _alive(server)
    finally:
        for connection in opened:
            connection.close()


def test_random_bytes_never_stop_the_server(server: Server) -> None:
    for size in (1, 10, 100, 1000, 5000):
        with socket.create_connection(server.address, SECONDS) as connection:
            connection.sendall(os.urandom(size))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(MEBIBYTE)
    assert _alive(server)
