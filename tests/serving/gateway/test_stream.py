"""Streams over real sockets: an in-process client sends its whole body before it is read."""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from serving.gateway.line_splitter import LineSplitter
from serving.protocol.errors import Code
from tests.serving.client.client_stubs import Fault, Stub, grpc_stub
from tests.serving.gateway.gateways import write_labels
from tests.serving.gateway.live_gateway import LiveGateway, live_gateway

KIND = {"content-type": "application/jsonl"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveGateway, Stub]]:
    folder = tmp_path_factory.mktemp("gateway")
    write_labels(folder / "models")
    settings = (
        f"pusher.base_directory={folder}/models",
        f"pipeline.root={folder}/root",
        "gateway.max_body_bytes=2048",
        "gateway.retries=0",
        "gateway.requests_per_minute=0",
        "gateway.max_text_characters=1000",
    )
    with grpc_stub() as stub, live_gateway(folder, stub.url, *settings) as running:
        yield running, stub


@contextlib.contextmanager
def connected(running: LiveGateway) -> Iterator[http.client.HTTPConnection]:
    parts = urlsplit(running.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        yield connection
    finally:
        connection.close()


def post(running: LiveGateway, body: bytes, headers: dict[str, str] = KIND) -> tuple[int, bytes]:
    with connected(running) as connection:
        connection.request("POST", "/v1/predict/stream", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def lines_of(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def test_each_line_gets_a_result_or_an_error(live: tuple[LiveGateway, Stub]) -> None:
    running, _ = live
    body = b"\n".join(
        [
            b'"a good film"',
            b"",
            b'{"text": "a film", "id": {"your": [1, null]}}\r',
            b"no json",
            b'{"text": 1}',
            b'{"id": 1}',
            b'"' + b"a" * 3000 + b'"',
            b'"' + b"a" * 1001 + b'"',
            b'"\\u0000"',
            b'"\\ud800"',
            b"\xff",
            b'{"text": "a", "id": NaN}',
            b'"a good end"',
        ]
    )
    status, content = post(running, body)
    assert status == 200
    answers = lines_of(content)
    assert [answer["line"] for answer in answers] == [1, *range(3, 14)]
    assert answers[0]["label"] == "good"
    assert answers[0]["scores"] == {"bad": 0.25, "good": 0.75}
    assert answers[1]["id"] == {"your": [1, None]}
    assert answers[1]["label"] == "bad"
    codes = [answer["error"]["code"] for answer in answers[2:-1]]
    assert codes == [
        "invalid_json",
        "invalid_request",
        "invalid_request",
        "line_too_long",
        "text_too_long",
        "invalid_text",
        "invalid_json",
        "invalid_json",
        "invalid_request",
    ]
    assert answers[-1]["label"] == "good"
    vote = {"prediction_id": answers[-1]["prediction_id"], "label": "bad"}
    with connected(running) as connection:
        kind = {"content-type": "application/json"}
        connection.request("POST", "/v1/feedback", json.dumps(vote), kind)
        assert connection.getresponse().status == 202


def test_results_arrive_while_lines_are_still_sent(live: tuple[LiveGateway, Stub]) -> None:
    running, _ = live
    parts = urlsplit(running.url)
    head = (
        "POST /v1/predict/stream HTTP/1.1\r\nhost: localhost\r\n"
        "content-type: application/jsonl\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    with socket.create_connection((parts.hostname or "", parts.port or 0), 30) as raw:
        raw.sendall(head.encode())
        for number in range(3):
            line = f'"good {number}"\n'.encode()
            raw.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            received = b""
            while b'"prediction_id"' not in received:
                received += raw.recv(65536)
            assert f'"line":{number + 1},'.encode() in received
        raw.sendall(b"0\r\n\r\n")
        rest = b""
        while not rest.endswith(b"0\r\n\r\n"):
            rest += raw.recv(65536)


def test_failing_model_server_is_reported_in_each_line(live: tuple[LiveGateway, Stub]) -> None:
    running, stub = live
    stub.always = Fault(Code.INTERNAL)
    try:
        status, content = post(running, b'"a"\n"b"\n')
    finally:
        stub.always = None
    assert status == 200
    assert [line["error"]["code"] for line in lines_of(content)] == ["model_failed"] * 2
    post(running, b'"good again"\n')


def test_stream_is_refused_before_its_first_line(live: tuple[LiveGateway, Stub]) -> None:
    running, _ = live
    status, content = post(running, b'"a"', {"content-type": "application/json"})
    assert status == 415
    assert json.loads(content)["error"]["code"] == "unsupported_media_type"
    status, _ = post(running, b'"a"', {**KIND, "authorization": "Bearer wrong"})
    assert status == 401
    assert post(running, b"") == (200, b"")


def test_endless_json_body_is_cut_off(live: tuple[LiveGateway, Stub]) -> None:
    running, _ = live

    def endless() -> Iterator[bytes]:
        while True:
            yield b"a" * 500

    with connected(running) as connection:
        kind = {"content-type": "application/json"}
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", "/v1/predict", endless(), kind, encode_chunked=True)
            raise AssertionError("the body was read without limit")


@pytest.mark.slow
def test_many_lines_take_constant_memory(live: tuple[LiveGateway, Stub]) -> None:
    running, stub = live
    count = 100_000
    process = psutil.Process(running.process.pid)
    post(running, b'"warm"\n' * 3000)
    before = process.memory_info().rss
    peak = before
    parts = urlsplit(running.url)
    head = (
        "POST /v1/predict/stream HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        "content-type: application/jsonl\r\ntransfer-encoding: chunked\r\n\r\n"
    )

    def send(raw: socket.socket) -> None:
        raw.sendall(head.encode())
        piece = b"".join(b'"a good film, line %d of the file"\n' % n for n in range(1000))
        for _ in range(count // 1000):
            raw.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        raw.sendall(b"0\r\n\r\n")

    stub.calls.clear()
    with socket.create_connection((parts.hostname or "", parts.port or 0), 60) as raw:
        sender = threading.Thread(target=send, args=[raw])
        sender.start()
        answered = 0
        while content := raw.recv(1 << 20):
            answered += content.count(b'"prediction_id"')
            peak = max(peak, process.memory_info().rss)
            stub.calls.clear()
        sender.join()
    assert answered >= count * 0.999  # a few matches are split between two reads
    assert peak - before < 150e6, f"{(peak - before) / 1e6:.0f} MB more"


def test_lines_are_split_wherever_chunks_end() -> None:
    text = b"one\ntwo\r\n\nlong long\nlast"
    for size in range(1, len(text) + 1):
        splitter = LineSplitter(5)
        chunks = [text[start : start + size] for start in range(0, len(text), size)]
        lines = [line for chunk in chunks for line in splitter.feed(chunk)]
        lines += splitter.finish()
        assert lines == [b"one", b"two\r", b"", None, b"last"]
    assert list(LineSplitter(5).finish()) == []
