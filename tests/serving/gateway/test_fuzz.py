"""For any request, no response is a 500 and all errors have the same shape."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.gateway.gateways import Gateway, gateway

_running: list[Gateway] = []
_QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]


@pytest.fixture(scope="module", autouse=True)
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    with gateway(folder, max_body_bytes=20_000, breaker_failures=10_000) as started:
        started.become_admin()
        _running.append(started)
        yield started
        _running.clear()


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["text", "texts", "label", "items", "prediction_id", "request_id", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def check(status: int, content: str) -> None:
    assert status < 500, content
    if status >= 400:
        assert set(json.loads(content)["error"]) == {"code", "message", "request_id"}


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/feedback", "/v1/reviews"])
@settings(max_examples=150, deadline=None, suppress_health_check=_QUIET)
@given(body=_json.map(json.dumps) | st.binary(max_size=300))
def test_any_body_gets_a_well_formed_response(path: str, body: str | bytes) -> None:
    content = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    headers = {"content-type": "application/json"}
    answer = _running[0].client.post(path, content=content, headers=headers)
    check(answer.status_code, answer.text)


@settings(max_examples=100, deadline=None, suppress_health_check=_QUIET)
@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=200))
def test_any_text_gets_a_prediction_and_accepts_feedback(text: str) -> None:
    client = _running[0].client
    answer = client.post("/v1/predict", json={"text": text})
    check(answer.status_code, answer.text)
    if answer.status_code == 200:
        vote = {"request_id": answer.json()["request_id"], "label": "good"}
        voted = client.post("/v1/feedback", json=vote)
        check(voted.status_code, voted.text)
        assert voted.status_code == (202 if text.split() else 422) or not text.isprintable()


@settings(max_examples=60, deadline=None, suppress_health_check=_QUIET)
@given(lines=st.lists(_json.map(json.dumps).map(str.encode) | st.binary(max_size=80), max_size=6))
def test_any_stream_gets_one_result_per_line(lines: list[bytes]) -> None:
    content = b"\n".join(lines)
    headers = {"content-type": "application/jsonl"}
    answer = _running[0].client.post("/v1/predict/stream", content=content, headers=headers)
    assert answer.status_code == 200
    wanted = [number for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    assert [json.loads(line)["line"] for line in answer.content.splitlines()] == wanted


@settings(max_examples=60, deadline=None, suppress_health_check=_QUIET)
@given(
    name=st.sampled_from(["authorization", "x-api-key", "x-sticky-key", "host", "origin"]),
    value=st.binary(max_size=60).filter(lambda value: not set(value) & set(b"\r\n\0")),
)
def test_any_header_gets_a_well_formed_response(name: str, value: bytes) -> None:
    answer = _running[0].client.post(
        "/v1/predict", json={"text": "a"}, headers={name: value.decode("latin-1").encode("latin-1")}
    )
    check(answer.status_code, answer.text)
