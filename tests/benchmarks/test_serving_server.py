"""Calculations of the serving benchmark, and its load generator with a test server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from benchmarks import serving_load, serving_server, serving_swap
from serving.protocol import protos

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    ("response", "complete"),
    [
        (ANSWER, True),
        (ANSWER[:-1], False),
        (b"HTTP/1.1 200 OK\r\nContent-Le", False),
        (b"HTTP/1.0 500 NO\r\ncontent-length: 0\r\n\r\n", True),
    ],
)
def test_response_is_complete_when_its_body_is(response: bytes, complete: bool) -> None:
    assert serving_load.is_complete(response) is complete


def test_response_without_a_length_is_rejected() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        serving_load.is_complete(b"HTTP/1.1 200 OK\r\n\r\n{}")


@asynccontextmanager
async def http_server(*answers: bytes) -> AsyncIterator[int]:
    """Send the responses in turn, and close the connection after those that request it."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            assert b"a text" in await reader.readexactly(length)
            answer = left.pop(0) if len(left) > 1 else left[0]
            writer.write(answer)
            await writer.drain()
            if b"close" in answer:
                break
        writer.close()

    server = await asyncio.start_server(serve, serving_load.HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class CountedLoad(serving_load.Load):
    """A load that ends after a number of requests instead of a duration."""

    def __init__(self, count: int) -> None:
        order = {"path": "/predict", "texts": [["a text"]]}
        super().__init__(0, serving_load.rest_requests(order))
        self._left = count

    def next(self) -> bytes | None:
        self._left -= 1
        return next(self._requests) if self._left >= 0 else None


@pytest.mark.parametrize(
    "answer", [ANSWER, ANSWER.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")]
)
def test_client_continues_with_and_without_keep_alive(answer: bytes) -> None:
    async def ask() -> serving_load.Load:
        load = CountedLoad(5)
        async with http_server(answer) as port:
            await serving_load.ask_over_rest(load, port)
        return load

    load = asyncio.run(ask())
    assert len(load.answers) == 5
    assert load.failures == []


def test_error_counts_as_failure_and_the_client_continues() -> None:
    async def ask() -> serving_load.Load:
        load = CountedLoad(3)
        refusal = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
        async with http_server(refusal, ANSWER) as port:
            await serving_load.ask_over_rest(load, port)
        return load

    load = asyncio.run(ask())
    assert load.failures == ["HTTP/1.1 503 Busy"]
    assert len(load.answers) == 2


def test_texts_are_grouped_into_requests_of_one_size() -> None:
    assert serving_server.in_requests("abcde", 2) == [["a", "b"], ["c", "d"]]
    assert serving_server.in_requests("abc", 1) == [["a"], ["b"], ["c"]]


def test_rest_request_contains_its_texts() -> None:
    (request,) = serving_load.rest_requests({"path": "/predict", "texts": [["é", "e"]]})
    assert json.loads(request.partition(b"\r\n\r\n")[2]) == {"instances": ["é", "e"]}


def test_grpc_request_contains_its_texts() -> None:
    (data,) = serving_load.grpc_requests({"path": "reviews", "texts": [["é", "e"]]})
    request = protos.predict_pb2.PredictRequest.FromString(data)
    assert request.model_spec.name == "reviews"
    assert list(request.inputs["text"].string_val) == ["é".encode(), b"e"]
    assert [dim.size for dim in request.inputs["text"].tensor_shape.dim] == [2]


def test_requests_per_second_count_until_the_last_response() -> None:
    answers = [[10.0, 10.5, 0], [10.0, 11.5, 0], [11.0, 12.5, 0]]
    answer = {"answers": answers, "failures": ["x"], "cpu_seconds": 0.25}
    turn = serving_server.summarise_turn(answer)
    assert turn["requests_per_second"] == 1.2
    assert turn["milliseconds"] == [500.0, 1500.0, 1500.0]
    assert turn["failures"] == 1
    assert turn["load_share"] == 0.1


def make_turn(side: str, number: int, speed: float, **more: Any) -> dict[str, Any]:
    latencies = [1.0] * 98 + [3.0] * 2
    turn = {"mix": "short", "clients": 8, "side": side, "round": number, "milliseconds": latencies}
    return turn | {
        "requests_per_second": speed,
        "failures": 0,
        "failure": "",
        "load_share": 0.02,
        **more,
    }


def test_ratios_compare_the_same_round() -> None:
    times = {"front_seconds": 0.03, "model_seconds": 1.0}
    turns = [
        make_turn(side, number, speed, **more)
        for number, slow in enumerate((1.0, 0.5, 0.25))
        for side, speed, more in (("Flask", 10 * slow, {}), ("REST", 40 * slow, times))
    ]
    flask, ours = serving_server.summarise(turns)
    assert flask["times_flask"] == 1
    assert ours["times_flask"] == 4
    assert ours["overhead"] == pytest.approx(0.03)
    assert (ours["p50_ms"], ours["p99_ms"], ours["p99_by_p50"]) == (1.0, 3.0, 3.0)
    assert "overhead" not in flask


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 2), (75, 3), (76, 4), (100, 4)])
def test_percentile_is_an_observed_value(percent: float, value: int) -> None:
    assert serving_server.percentile([4, 1, 3, 2], percent) == value


def test_responses_are_grouped_by_the_arrival_of_their_version() -> None:
    old = [(float(start), start + 0.01, 1) for start in range(10)]
    late = [(12.0, 12.05, 1), (13.5, 13.51, 1)]  # one while version 2 loads, one after it is ready
    new = [(12.9, 13.0, 2), (13.0, 13.02, 2)]
    summary = serving_swap.summarise([*new, *old, *late], {2: 11.0, 3: 20.0})
    assert summary["flips"] == 1  # version 3 never responded
    assert summary["seconds_to_flip"]["max"] == 2.0
    assert summary["warm"]["max"] == pytest.approx(10)
    assert summary["loading"] == pytest.approx({"p50": 100, "p99": 100, "max": 100})
    assert summary["first"]["max"] == pytest.approx(100)
