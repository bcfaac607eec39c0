import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from serving.protocol.errors import Code
from serving.records.tables import PredictionRow
from tests.serving.client.client_stubs import Fault
from tests.serving.gateway.gateways import UNAVAILABLE, VERSION, Gateway, error_of, gateway


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    limits = {"max_texts": 4, "max_text_characters": 20, "max_body_bytes": 2048}
    with gateway(folder, breaker_failures=1000, **limits) as running:
        yield running


def rows(running: Gateway, request_id: str) -> list[PredictionRow]:
    running.flush()
    query = select(PredictionRow).where(PredictionRow.request_id == request_id)
    with running.database.read() as session:
        return list(session.scalars(query.order_by(PredictionRow.position)))


def test_predictions_are_in_the_order_of_the_texts(shared: Gateway) -> None:
    answer = shared.predict("a good film", "a film", "a good room")
    assert answer.status_code == 200
    body = answer.json()
    assert body["request_id"] == answer.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", body["request_id"])
    assert (body["model_version"], body["role"], body["stored"]) == (VERSION, "stable", True)
    assert [each["label"] for each in body["predictions"]] == ["good", "bad", "good"]
    assert body["predictions"][1] == {
        "id": f"{body['request_id']}-1",
        "label": "bad",
        "score": 0.75,
        "scores": {"bad": 0.75, "good": 0.25},
    }


def test_model_server_is_called_with_the_version_number(shared: Gateway) -> None:
    shared.predict("which")
    assert shared.stub.calls[-1].route == f"default/{VERSION}"
    assert 0 < (shared.stub.calls[-1].time_remaining or 0) < 6


def test_predictions_are_recorded(shared: Gateway) -> None:
    request_id = shared.predict("a good film", "Ünï").json()["request_id"]
    first, second = rows(shared, request_id)
    assert (first.id, first.text, first.label, first.status) == (
        f"{request_id}-0",
        "a good film",
        "good",
        "ok",
    )
    assert first.scores == {"bad": 0.25, "good": 0.75}
    assert (second.characters, second.model_version, second.key_id) == (3, VERSION, "anonymous")
    assert len(second.text_identity) == 64


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[" * 1500, 400, "invalid_json"),
        (b'{"text": "\\ud800"}', 400, "invalid_json"),
        (b'{"text": NaN}', 422, "invalid_request"),
        (b'{"text": 1' + b"0" * 1000 + b"}", 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
        (b'{"texts": []}', 422, "invalid_request"),
        (b'{"texts": [1]}', 422, "invalid_request"),
        (b'{"text": "a", "texts": ["a"]}', 422, "invalid_request"),
        (b'{"text": "a", "other": 1}', 422, "invalid_request"),
        (b'{"text": "a\\u0000b"}', 422, "invalid_text"),
        (b'{"text": "' + b"a" * 21 + b'"}', 422, "text_too_long"),
        (b'{"texts": ["a", "a", "a", "a", "a"]}', 422, "too_many_texts"),
        (b'{"text": "' + b"a" * 2048 + b'"}', 413, "body_too_large"),
    ],
)
def test_invalid_bodies_are_refused(shared: Gateway, body: bytes, status: int, code: str) -> None:
    headers = {"content-type": "application/json"}
    answer = shared.client.post("/v1/predict", content=body, headers=headers)
    assert error_of(answer) == (status, code)


def test_body_without_length_is_limited_while_it_arrives(shared: Gateway) -> None:
    headers = {"content-type": "application/json"}
    chunks = (b'{"text": "' + b"a" * 1000 for _ in range(3))
    answer = shared.client.post("/v1/predict", content=chunks, headers=headers)
    assert "content-length" not in answer.request.headers
    assert error_of(answer) == (413, "body_too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_only_json_is_accepted(shared: Gateway, kind: str) -> None:
    answer = shared.client.post(
        "/v1/predict", content=b'{"text": "a"}', headers={"content-type": kind}
    )
    assert error_of(answer) == (415, "unsupported_media_type")


def test_compressed_body_is_refused(shared: Gateway) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = shared.client.post("/v1/predict", content=b"{}", headers=headers)
    assert error_of(answer) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "review", [{}, {"text": "a", "text_identity": "0" * 64}], ids=["neither", "both"]
)
def test_review_names_a_text_or_an_identity(tmp_path: Path, review: dict[str, str]) -> None:
    with gateway(tmp_path) as running:
        running.become_admin()
        answer = running.client.post("/v1/reviews", json={**review, "label": "good"})
        assert error_of(answer) == (422, "invalid_request")


def test_routing_errors_have_the_same_shape(shared: Gateway) -> None:
    assert error_of(shared.client.get("/v1/nothing")) == (404, "not_found")
    assert error_of(shared.client.get("/v1/predict")) == (405, "method_not_allowed")
    assert error_of(shared.client.get("/v1/decisions?limit=0")) == (422, "invalid_request")
    assert error_of(shared.client.get("/v1/decisions?limit=" + "9" * 5000))[0] == 422


def test_internal_errors_have_the_same_shape_and_hide_the_cause(
    shared: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr(shared.parts.service, "answer", fail)
    answer = shared.predict("a")
    assert error_of(answer) == (500, "internal")
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (UNAVAILABLE, 503, "model_unavailable"),
        (Fault(Code.NOT_FOUND), 503, "model_unavailable"),
        (Fault(Code.INTERNAL), 502, "model_failed"),
        (Fault(Code.INVALID_ARGUMENT), 422, "model_refused"),
        (Fault(Code.DEADLINE_EXCEEDED), 504, "model_timeout"),
    ],
)
def test_model_server_errors_are_translated_and_recorded(
    shared: Gateway, fault: Fault, status: int, code: str
) -> None:
    shared.broken[VERSION] = fault
    try:
        answer = shared.predict("a")
    finally:
        shared.broken.clear()
    assert error_of(answer) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 503)
    (row,) = rows(shared, answer.json()["error"]["request_id"])
    assert (row.status, row.label) == (fault.code.name, None)


def test_nan_scores_are_an_error(shared: Gateway) -> None:
    shared.stub.outputs = lambda texts: {
        "scores": [[float("nan")] * 2] * len(texts),
        "label": ["bad"] * len(texts),
        "score": [float("nan")] * len(texts),
    }
    try:
        assert error_of(shared.predict("a")) == (502, "model_failed")
    finally:
        shared.stub.outputs = None


def test_unavailable_calls_are_retried(tmp_path: Path) -> None:
    with gateway(tmp_path, retries=2) as running:
        running.predict("a")
        running.stub.faults = [UNAVAILABLE, UNAVAILABLE]
        assert running.predict("a").status_code == 200
        running.stub.faults = [Fault(Code.INTERNAL)]
        assert running.predict("a").status_code == 502


def test_open_breaker_stops_calls_to_a_failing_server(tmp_path: Path) -> None:
    with gateway(tmp_path, breaker_failures=2, breaker_seconds=60) as running:
        running.predict("a")
        running.broken[VERSION] = Fault(Code.INTERNAL)
        for _ in range(2):
            assert running.predict("a").status_code == 502
        calls = len([call for call in running.stub.calls if call.texts])
        answer = running.predict("a")
        assert error_of(answer) == (503, "model_unavailable")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert len([call for call in running.stub.calls if call.texts]) == calls
        assert 'breaker_open{model_version="7"} 1.0' in running.client.get("/metrics").text


def test_texts_are_stored_and_logged_only_if_configured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "serving.gateway")
    with gateway(tmp_path, store_texts=False) as running:
        request_id = running.predict("my secret").json()["request_id"]
        (row,) = rows(running, request_id)
    assert row.text is None
    assert row.characters == 9
    lines = [record.fields for record in caplog.records if record.getMessage() == "request"]
    assert lines[-1]["request_id"] == request_id
    assert (lines[-1]["route"], lines[-1]["status"], lines[-1]["texts"]) == ("/v1/predict", 200, 1)
    assert "my secret" not in caplog.text + str(lines)
    with gateway(tmp_path / "b", log_texts=True) as running:
        running.predict("my secret")
    assert caplog.records[-1].fields["sample"] == ["my secret"]
