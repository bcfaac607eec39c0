"""Load generator of ``benchmarks.serving_server``: all clients in one lightweight process.

Each client sends its next request after the response to the last one. Requests are created in
advance and responses kept as bytes, so that this process uses little CPU time per request.

Each line of standard input is an order, and each line of standard output its result. Times are
seconds of the monotonic clock, which all processes of a machine share::

    {"protocol": "rest", "port", "path", "clients", "seconds", "texts": [[text, ...], ...]}
    {"answers": [[sent, answered, version], ...], "failures": [...], "cpu_seconds"}
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

HOST = "127.0.0.1"
_END_OF_HEADERS = b"\r\n\r\n"
_LENGTH = b"content-length:"
_METHOD = "/tensorflow.serving.PredictionService/Predict"
#: A call that takes longer counts as failed.
TIMEOUT_SECONDS = 30.0


class Load:
    """State that the clients of one order share.

    Args:
        seconds: duration of the load.
        requests: requests to send, repeatedly in this order.

    Attributes:
        answers: [sent, answered, response] of every successful request.
        failures: errors of the other requests.
    """

    def __init__(self, seconds: float, requests: list[bytes]) -> None:
        self._end = time.monotonic() + seconds
        self._requests: Iterator[bytes] = itertools.cycle(requests)
        self.answers: list[tuple[float, float, bytes]] = []
        self.failures: list[str] = []

    def next(self) -> bytes | None:
        """Return the next request, or None when the time is over."""
        return next(self._requests) if time.monotonic() < self._end else None


class _Connection(asyncio.Protocol):
    """An HTTP connection that handles one request at a time."""

    def __init__(self) -> None:
        self.open = True
        self._received = b""
        self._answered: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        """Store the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Receive a part of a response."""
        self._received += data
        if is_complete(self._received) and self._answered and not self._answered.done():
            self._answered.set_result(self._received)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the running call."""
        self.open = False
        if self._answered and not self._answered.done():
            self._answered.set_exception(ConnectionError("the server closed the connection"))

    async def ask(self, request: bytes) -> bytes:
        """Send a request and return its response."""
        self._received, self._answered = b"", asyncio.get_running_loop().create_future()
        self._transport.write(request)
        answer = await asyncio.wait_for(self._answered, TIMEOUT_SECONDS)
        if b"\r\nconnection: close" in answer.partition(_END_OF_HEADERS)[0].lower():
            self.close()
        return answer

    def close(self) -> None:
        """Close the connection."""
        self.open = False
        self._transport.abort()


async def ask_over_rest(load: Load, port: int) -> None:
    """Run one HTTP client, which reconnects if the server closes the connection."""
    loop = asyncio.get_running_loop()
    connection: _Connection | None = None
    while (request := load.next()) is not None:
        sent = time.monotonic()
        try:
            if connection is None or not connection.open:
                _, connection = await loop.create_connection(_Connection, HOST, port)
            answer = await connection.ask(request)
        except OSError as error:
            load.failures.append(f"{type(error).__name__}: {error}")
            if connection is not None:
                connection.close()  # a late response must not be used for the next request
            continue
        status = answer.partition(b"\r\n")[0]
        if b" 200 " in status:
            load.answers.append((sent, time.monotonic(), b""))
        else:
            load.failures.append(status.decode("latin-1"))
    if connection is not None:
        connection.close()


def is_complete(response: bytes) -> bool:
    """Return whether an HTTP response with a Content-Length is complete.

    Raises:
        ValueError: the response has no Content-Length.
    """
    headers, end, body = response.partition(_END_OF_HEADERS)
    if not end:
        return False
    for line in headers.lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            return len(body) >= int(line[len(_LENGTH) :])
    raise ValueError("the response has no Content-Length")


async def ask_over_grpc(load: Load, port: int) -> None:
    """Run one gRPC client with its own connection."""
    import grpc

    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"{HOST}:{port}", options) as channel:
        predict = channel.unary_unary(_METHOD)  # bytes to bytes, without parsing
        while (request := load.next()) is not None:
            sent = time.monotonic()
            try:
                answer = await predict(request, timeout=TIMEOUT_SECONDS)
            except grpc.aio.AioRpcError as error:
                load.failures.append(f"{error.code().name}: {error.details()}")
            else:
                load.answers.append((sent, time.monotonic(), answer))


def rest_requests(order: dict[str, Any]) -> list[bytes]:
    """Return one HTTP request per list of texts."""
    requests = []
    for texts in order["texts"]:
        body = json.dumps({"instances": texts}).encode()
        head = f"POST {order['path']} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n"
        requests.append(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
    return requests


def grpc_requests(order: dict[str, Any]) -> list[bytes]:
    """Return one serialised PredictRequest per list of texts."""
    from serving.protocol import protos

    requests = []
    for texts in order["texts"]:
        request = protos.predict_pb2.PredictRequest()
        request.model_spec.name = order["path"]
        tensor = request.inputs["text"]
        tensor.dtype = protos.types_pb2.DT_STRING
        tensor.tensor_shape.dim.add().size = len(texts)
        tensor.string_val.extend(text.encode() for text in texts)
        requests.append(request.SerializeToString())
    return requests


def _version(answer: bytes) -> int:
    from serving.protocol import protos

    return int(protos.predict_pb2.PredictResponse.FromString(answer).model_spec.version.value)


async def run(order: dict[str, Any]) -> dict[str, Any]:
    """Execute an order."""
    rest = order["protocol"] == "rest"
    load = Load(order["seconds"], (rest_requests if rest else grpc_requests)(order))
    client = ask_over_rest if rest else ask_over_grpc
    cpu = time.process_time()
    await asyncio.gather(*(client(load, order["port"]) for _ in range(order["clients"])))
    cpu = time.process_time() - cpu
    answers = [[sent, done, 0 if rest else _version(answer)] for sent, done, answer in load.answers]
    return {"answers": answers, "failures": load.failures, "cpu_seconds": cpu}


def main() -> None:
    """Execute the order on each line of standard input."""
    for line in sys.stdin:
        print(json.dumps(asyncio.run(run(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
