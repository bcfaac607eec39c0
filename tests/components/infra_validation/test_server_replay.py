"""Readiness and replay against the real REST and gRPC fronts, without TensorFlow."""

import dataclasses
import time

import pytest

from components.infra_validation.checks import check_reply
from components.infra_validation.server_replay import (
    LATENCY_CALLS,
    replay,
    text_of,
    wait_until_available,
    wrap_text,
)
from modules.contract.errors import ModelError
from serving.protocol.errors import Code, ServingError
from serving.protocol.servable import State, VersionStatus
from tests.components.classifier_server import LABELS, classifier, keyword_scores, served

TEXTS = ["good film", "bad film", "good good food"]
EXPECTED = [
    {
        "text": text,
        "scores": (scores := keyword_scores(text)),
        "label": LABELS[scores.index(max(scores))],
    }
    for text in TEXTS
]
WAYS = {"one_by_one", "one_batch", "examples"}


def soon(seconds: float = 30.0) -> float:
    return time.monotonic() + seconds


def test_replay_sends_texts_in_every_way_over_both_protocols() -> None:
    examples = [wrap_text(text) for text in TEXTS]
    with served(classifier()) as server:
        reply = replay(server, TEXTS, examples, soon())
    assert reply["errors"] == {"rest": {}, "grpc": {}}
    assert set(reply["answers"]["rest"]) == WAYS | {"test_texts", "test_examples"}
    assert reply["answers"]["rest"] == reply["answers"]["grpc"]
    assert reply["signatures"] == ["serving_default", "serving_examples"]
    assert reply["peak_memory_mb"] == 512
    assert check_reply(reply, EXPECTED, 1e-4) == []


def test_replay_also_calls_a_bfloat16_signature() -> None:
    with served(classifier(twin=lambda text: keyword_scores(text, 1.999))) as server:
        reply = replay(server, TEXTS, [], soon())
    assert set(reply["answers"]["grpc"]) == WAYS | {"bfloat16"}
    assert check_reply(reply, EXPECTED, 1e-4) == []


def test_latency_is_that_of_the_slower_protocol() -> None:
    servable = classifier()
    with served(servable) as server:
        reply = replay(server, TEXTS, [], soon())
    single = [each for each in servable.requests if len(each.inputs.get("text", ())) == 1]
    assert len(single) == 2 * (LATENCY_CALLS + len(TEXTS))
    for name in ("p50_ms", "p99_ms"):
        assert reply[name] == max(each[name] for each in reply["latency_ms"].values())


def test_failing_signature_is_reported_but_not_timed() -> None:
    servable = classifier()
    servable.failure = ServingError(Code.INTERNAL, "out of order")
    with served(servable) as server:
        reply = replay(dataclasses.replace(server, peak_memory_mb=lambda: None), TEXTS, [], soon())
    assert set(reply["errors"]["rest"]) == set(reply["errors"]["grpc"]) == WAYS
    assert "out of order" in reply["errors"]["grpc"]["one_batch"]
    assert reply["latency_ms"] == {}
    assert not {"p50_ms", "p99_ms", "peak_memory_mb"} & set(reply)


def test_available_model_needs_no_wait() -> None:
    with served(classifier()) as server:
        wait_until_available(server, soon())


def test_model_that_cannot_be_loaded_is_refused_immediately() -> None:
    failed = VersionStatus(1, State.END, Code.INVALID_ARGUMENT, "no such op")
    with (
        served(classifier(), state=failed) as server,
        pytest.raises(ModelError, match="cannot load the model: no such op"),
    ):
        wait_until_available(server, soon())


@pytest.mark.parametrize(
    ("servables", "state", "said"),
    [
        ([classifier()], VersionStatus(1, State.LOADING), "the server reports: LOADING"),
        ([], None, "Could not find any versions of model candidate"),
    ],
    ids=["loading", "unknown to the server"],
)
def test_model_that_is_not_available_in_time_is_refused_with_its_status(
    servables, state, said
) -> None:
    with (
        served(*servables, state=state) as server,
        pytest.raises(ModelError, match=rf"not available in time; .*{said}"),
    ):
        wait_until_available(server, soon(0.2))


def test_example_without_text_has_an_empty_text() -> None:
    assert text_of(wrap_text("gut, größer")) == "gut, größer".encode()
    assert text_of(b"") == b""
