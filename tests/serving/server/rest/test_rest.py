"""The ASGI application without a server: limits, cancellation, statuses and pages."""

import asyncio
import gzip
import hashlib
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol.errors import Code, ServingError
from serving.server import metrics
from serving.server.monitoring_config import Monitoring
from serving.server.requests.service import InferenceService
from serving.server.rest import rest_body, rest_routes
from serving.server.rest.rest import RestApplication
from tests.serving import fake_models
from tests.serving.fake_models import FakeModels, FakeServable

PATH = "/v1/models/reviews:predict"
BODY = b'{"instances": ["abc"]}'


class Client:
    """An ASGI server for one request.

    ``leave`` is the client's going away; ``stall`` keeps the body from ever being complete.
    """

    def __init__(self, method: str, path: str, body: bytes, *, stall: bool = False) -> None:
        path, _, query = path.partition("?")
        self.scope = {
            "type": "http",
            "method": method,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [],
        }
        self._messages = [{"type": "http.request", "body": body, "more_body": stall}]
        self._left = asyncio.Event()
        self.status, self.headers, self.body = 0, {}, b""

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop(0)
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.body += message["body"]


def _application(*servables: FakeServable, **options: Any) -> RestApplication:
    return RestApplication(InferenceService(FakeModels(*servables)), Monitoring(), **options)


def _answer(
    application: RestApplication,
    path: str = PATH,
    body: bytes = BODY,
    method: str = "POST",
    headers: Sequence[tuple[bytes, bytes]] = (),
    stall: bool = False,
) -> Client:
    async def run() -> Client:
        client = Client(method, path, body, stall=stall)
        client.scope["headers"] = list(headers)
        await application(client.scope, client.receive, client.send)
        return client

    return asyncio.run(run())


def _error(client: Client) -> str:
    return json.loads(client.body)["error"]


def test_predict_waits_for_the_servable() -> None:
    servable = fake_models.classifier()
    servable.hold()

    def answer_later() -> None:
        servable.arrived.wait()
        servable.let_go()

    thread = threading.Thread(target=answer_later)
    thread.start()
    client = _answer(_application(servable))
    thread.join()
    assert client.status == 200
    prediction = {"label": "positive", "score": 0.75, "scores": [0.25, 0.75]}
    assert json.loads(client.body) == {"predictions": [prediction]}
    assert client.headers[b"content-length"] == str(len(client.body)).encode()
    assert servable.pins == 0


def test_large_body_gets_the_same_answer() -> None:
    texts = ["x" * 100] * 3000
    body = json.dumps({"instances": texts}).encode()
    client = _answer(_application(fake_models.classifier()), body=body)
    assert len(json.loads(client.body)["predictions"]) == 3000


def test_slow_model_returns_504_and_cancels_the_call() -> None:
    servable = fake_models.classifier()
    servable.hold()
    client = _answer(_application(servable, timeout_seconds=0.05))
    assert client.status == 504
    assert "Timed out" in _error(client)
    assert servable.held is not None
    assert [future.cancelled() for future, _ in servable.held] == [True]
    assert servable.pins == 0


def test_slow_sender_gets_408_and_the_connection_closes() -> None:
    servable = fake_models.classifier()
    client = _answer(_application(servable, timeout_seconds=0.05), stall=True)
    assert client.status == 408
    assert client.headers[b"connection"] == b"close"
    assert servable.requests == []


def test_disconnect_cancels_the_call() -> None:
    servable = fake_models.classifier()
    servable.hold()
    application = _application(servable)

    async def run() -> Client:
        client = Client("POST", PATH, BODY)
        task = asyncio.create_task(application(client.scope, client.receive, client.send))
        await asyncio.to_thread(servable.arrived.wait)
        client.leave()
        await task
        return client

    client = asyncio.run(run())
    assert client.status == 0
    assert servable.held is not None
    assert [future.cancelled() for future, _ in servable.held] == [True]
    assert servable.pins == 0


@pytest.mark.parametrize(("retry_after", "header"), [(None, b"1"), (0.2, b"1"), (7.4, b"7")])
def test_unavailable_says_when_to_retry(retry_after: float | None, header: bytes) -> None:
    servable = fake_models.classifier()
    servable.failure = ServingError(Code.UNAVAILABLE, "The queue is full", retry_after)
    client = _answer(_application(servable))
    assert client.status == 503
    assert client.headers[b"retry-after"] == header
    assert _error(client) == "The queue is full"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.INVALID_ARGUMENT, 400),
        (Code.FAILED_PRECONDITION, 400),
        (Code.OUT_OF_RANGE, 400),
        (Code.UNAUTHENTICATED, 401),
        (Code.PERMISSION_DENIED, 403),
        (Code.NOT_FOUND, 404),
        (Code.ALREADY_EXISTS, 409),
        (Code.ABORTED, 409),
        (Code.RESOURCE_EXHAUSTED, 429),
        (Code.CANCELLED, 499),
        (Code.UNKNOWN, 500),
        (Code.INTERNAL, 500),
        (Code.DATA_LOSS, 500),
        (Code.UNIMPLEMENTED, 501),
        (Code.UNAVAILABLE, 503),
        (Code.DEADLINE_EXCEEDED, 504),
    ],
)
def test_code_has_its_http_status(code: Code, status: int) -> None:
    servable = fake_models.classifier()
    servable.failure = ServingError(code, "reason")
    before = metrics.REQUEST_COUNT.value("reviews", code.name)
    client = _answer(_application(servable))
    assert client.status == status
    assert client.body == b'{\n    "error": "reason"\n}'
    assert metrics.REQUEST_COUNT.value("reviews", code.name) == before + 1


def test_names_of_unknown_models_share_a_metric_label() -> None:
    application = _application(fake_models.classifier())
    before = metrics.REQUEST_COUNT.value(metrics.OTHER, "NOT_FOUND")
    names = ["unknown-1", "unknown-2", "n" * 5000]
    for name in names:
        assert _answer(application, f"/v1/models/{name}:predict").status == 404
    assert metrics.REQUEST_COUNT.value(metrics.OTHER, "NOT_FOUND") == before + len(names)
    page = metrics.page().decode()
    assert not any(name in page for name in names)


def test_unexpected_exception_is_500_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    servable = fake_models.classifier()
    secret = "a text that nobody may log"
    servable.signatures = None  # type: ignore[assignment]
    client = _answer(_application(servable), body=json.dumps({"instances": [secret]}).encode())
    assert client.status == 500
    assert _error(client) == "Internal error"
    assert secret not in caplog.text
    assert servable.pins == 0


def test_too_large_body_is_refused() -> None:
    application = _application(fake_models.classifier(), max_body_bytes=len(BODY))
    assert _answer(application).status == 200
    assert _answer(application, body=BODY + b" ").status == 413
    declared = [(b"content-length", b"1000")]
    assert _answer(application, headers=declared).status == 413
    packed = gzip.compress(BODY + b" " * 1000)
    unpacked = _answer(application, body=packed, headers=[(b"content-encoding", b"gzip")])
    assert unpacked.status == 413
    assert f"larger than {len(BODY)} bytes" in _error(unpacked)


def test_large_gzip_body_is_unpacked() -> None:
    texts = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(2000)]
    packed = gzip.compress(json.dumps({"instances": texts}).encode())
    assert len(packed) > 64 * 1024
    application = _application(fake_models.classifier())
    answer = _answer(application, body=packed, headers=[(b"content-encoding", b"gzip")])
    assert len(json.loads(answer.body)["predictions"]) == len(texts)


def test_scopes_other_than_http_are_ignored() -> None:
    async def call() -> None:
        client = Client("GET", PATH, b"")
        await _application()({"type": "lifespan"}, client.receive, client.send)
        assert client.status == 0

    asyncio.run(call())


@given(st.binary(max_size=200))
def test_decompression_accepts_any_bytes(body: bytes) -> None:
    assert rest_body.unpacked(body, 1000) == b""
    assert rest_body.unpacked(gzip.compress(body), 1000) == body


def test_readiness_follows_the_models_and_draining() -> None:
    models = FakeModels(fake_models.classifier())
    application = RestApplication(InferenceService(models), Monitoring())

    def statuses() -> list[int]:
        paths = ("/healthz", "/readyz")
        return [_answer(application, path, b"", "GET").status for path in paths]

    assert statuses() == [200, 200]
    models.is_ready = False
    assert statuses() == [200, 503]
    models.is_ready = True
    application.draining = True
    assert statuses() == [200, 503]


@pytest.mark.parametrize(
    ("monitoring", "path", "status"),
    [
        (Monitoring(), "/monitoring/prometheus/metrics", 200),
        (Monitoring(), "/monitoring/prometheus/metrics?x=1", 200),
        (Monitoring(), "/m", 404),
        (Monitoring(True, "/m"), "/m", 200),
        (Monitoring(False), "/monitoring/prometheus/metrics", 404),
    ],
)
def test_metrics_page_is_served_at_the_configured_path(
    monitoring: Monitoring, path: str, status: int
) -> None:
    application = RestApplication(InferenceService(FakeModels()), monitoring)
    assert _answer(application, path, b"", "GET").status == status


@given(
    st.sampled_from(["GET", "POST", "PUT"]),
    st.text("/v1models:predictAZ09%20-_.abelrsion", max_size=60),
)
def test_any_path_is_a_route_or_refused(method: str, path: str) -> None:
    full = f"/v1/{path}"
    try:
        route = rest_routes.find(method, full)
    except ServingError as error:
        code = error.code
    else:
        code = Code.OK
        assert route.spec.name
    assert code in (Code.OK, Code.INVALID_ARGUMENT)


@given(body=st.binary(max_size=100))
def test_any_body_is_answered(body: bytes) -> None:
    client = _answer(_application(fake_models.classifier()), body=body)
    assert client.status == 400
