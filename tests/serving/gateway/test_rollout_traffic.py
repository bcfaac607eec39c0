import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from serving.gateway.mirror import MAX_WAITING
from serving.protocol.errors import Code
from serving.records.database import Database
from serving.records.tables import PredictionRow, RolloutRow, ShadowPredictionRow
from serving.rollout.assignment import assign
from serving.rollout.state import RolloutStore
from tests.serving.client.client_stubs import Call, Fault
from tests.serving.gateway.gateways import Gateway, error_of, gateway, write_labels

#: Concurrent requests to the candidate; further ones wait.
MIRRORED_AT_ONCE = 2


def rollout(
    stage: str, candidate: int | None = 8, previous: int | None = None
) -> Callable[[Database], None]:
    def write(database: Database) -> None:
        with database.begin() as session:
            session.merge(
                RolloutRow(
                    model="default",
                    revision=1,
                    stable=7,
                    previous=previous,
                    candidate=candidate,
                    stage=stage,
                    stage_started=time.time(),
                    rejected={},
                )
            )

    return write


def caller(running: Gateway, role: str) -> dict[str, str]:
    """Return headers of a caller who is assigned to a version with this role."""
    state = RolloutStore(running.database).read("default")
    number = next(n for n in range(1000) if assign(state, f"anonymous:{n}", 0.5).role == role)
    return {"x-sticky-key": str(number)}


def wait_for_shadows(running: Gateway, count: int) -> list[ShadowPredictionRow]:
    while True:
        running.flush()
        with running.database.read() as session:
            found = list(session.scalars(select(ShadowPredictionRow)))
        if len(found) >= count:
            return found
        time.sleep(0.02)


@contextlib.contextmanager
def silent_candidate(running: Gateway) -> Iterator[threading.Semaphore]:
    """Let the candidate not answer; the semaphore is released for each request that reaches it."""
    asked, end = threading.Semaphore(0), threading.Event()
    enter = running.stub.enter

    def hold(call: Call) -> Fault | None:
        if call.route == "default/8":
            asked.release()
            end.wait(60)
        return enter(call)

    running.stub.enter = hold  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        end.set()


def test_canary_answers_only_its_callers(tmp_path: Path) -> None:
    write_labels(tmp_path / "models", 8)
    with gateway(tmp_path, prepare=rollout("canary"), canary_share=0.5) as running:
        for role, version in (("canary", 8), ("stable", 7)):
            headers = caller(running, role)
            for _ in range(3):
                body = running.predict("a", headers=headers).json()
                assert (body["role"], body["model_version"]) == (role, version)
                assert body["predictions"][0]["scores"] == {"bad": 0.75, "good": 0.25}


def test_without_rollouts_the_newest_version_answers(tmp_path: Path) -> None:
    """The row of an earlier rollout does not describe what the server has loaded now."""
    with gateway(tmp_path, prepare=rollout("canary"), canary_share=0.5, rollouts=False) as running:
        for _ in range(4):
            assert running.predict("a").json()["role"] == "stable"
        assert running.client.get("/v1/model").json()["rollout"] is None


def test_previous_version_answers_until_the_stable_one_is_loaded(tmp_path: Path) -> None:
    prepare = rollout("full", candidate=None, previous=6)
    with gateway(tmp_path, prepare=prepare) as running:
        running.broken[7] = Fault(Code.NOT_FOUND)
        body = running.predict("a good film").json()
        assert (body["role"], body["model_version"]) == ("stable", 6)
        del running.broken[7]
        assert running.predict("a good film").json()["model_version"] == 7


def test_stable_version_answers_when_a_canary_fails(tmp_path: Path) -> None:
    with gateway(tmp_path, prepare=rollout("canary"), canary_share=0.5) as running:
        headers = caller(running, "canary")
        for code in (Code.UNAVAILABLE, Code.NOT_FOUND, Code.INTERNAL, Code.DEADLINE_EXCEEDED):
            running.broken[8] = Fault(code)
            answer = running.predict("a good film", headers=headers)
            assert (answer.status_code, answer.json()["role"]) == (200, "stable")
            request_id = answer.json()["request_id"]
            running.flush()
            with running.database.read() as session:
                query = select(PredictionRow).where(PredictionRow.request_id.startswith(request_id))
                found = {row.role: row for row in session.scalars(query)}
            assert (found["canary"].status, found["canary"].model_version) == (code.name, 8)
            assert (found["stable"].status, found["stable"].label) == ("ok", "good")
            assert running.feedback(request_id=request_id, label="good").status_code == 202


def test_breaker_stops_calls_to_a_broken_canary(tmp_path: Path) -> None:
    options = {"canary_share": 0.5, "breaker_failures": 2, "breaker_seconds": 60.0}
    with gateway(tmp_path, prepare=rollout("canary"), **options) as running:
        headers = caller(running, "canary")
        running.broken[8] = Fault(Code.UNAVAILABLE)
        for _ in range(5):
            assert running.predict("a", headers=headers).status_code == 200
        assert len([call for call in running.stub.calls if call.route == "default/8"]) == 2


def test_shadow_gets_the_texts_but_answers_no_request(tmp_path: Path) -> None:
    with gateway(tmp_path, prepare=rollout("shadow")) as running:
        body = running.predict("a good film", "a film").json()
        assert (body["role"], body["model_version"]) == ("stable", 7)
        found = wait_for_shadows(running, 2)
        assert {(row.model_version, row.label, row.status) for row in found} == {
            (8, "good", "ok"),
            (8, "bad", "ok"),
        }
        assert {row.prediction_id for row in found} == {
            prediction["id"] for prediction in body["predictions"]
        }


def test_failing_shadow_is_recorded_without_failing_requests(tmp_path: Path) -> None:
    with gateway(tmp_path, prepare=rollout("shadow")) as running:
        running.broken[8] = Fault(Code.INTERNAL)
        assert running.predict("a").status_code == 200
        (row,) = wait_for_shadows(running, 1)
        assert (row.status, row.label) == ("INTERNAL", None)


def test_requests_do_not_wait_for_a_slow_shadow(tmp_path: Path) -> None:
    with (
        gateway(tmp_path, prepare=rollout("shadow"), timeout_seconds=60.0) as running,
        silent_candidate(running) as asked,
    ):
        for _ in range(MIRRORED_AT_ONCE):
            assert running.predict("a").status_code == 200
            assert asked.acquire(timeout=30)
        for _ in range(MAX_WAITING + 3):
            assert running.predict("a").status_code == 200
        assert 'bert_gateway_shadow_total{outcome="dropped"} 3.0' in (
            running.client.get("/metrics").text
        )


def test_requests_waiting_for_a_shadow_are_bounded_by_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.gateway.mirror.MAX_WAITING_BYTES", 1000)
    with (
        gateway(tmp_path, prepare=rollout("shadow"), timeout_seconds=60.0) as running,
        silent_candidate(running) as asked,
    ):
        for _ in range(MIRRORED_AT_ONCE):
            assert running.predict("a").status_code == 200
            assert asked.acquire(timeout=30)
        for length in (800, 800, 10):
            assert running.predict("a" * length).status_code == 200
        assert 'bert_gateway_shadow_total{outcome="dropped"} 1.0' in (
            running.client.get("/metrics").text
        )


def test_request_to_a_removed_version_is_answered_by_the_promoted_one(tmp_path: Path) -> None:
    with gateway(tmp_path, prepare=rollout("full", None)) as running:
        assert running.predict("a").json()["model_version"] == 7
        with running.database.begin() as session:
            row = session.get(RolloutRow, "default")
            assert row
            row.stable, row.revision = 9, 2
        running.broken[7] = Fault(Code.NOT_FOUND)
        body = running.predict("a").json()  # no request fails in between
        assert body["model_version"] == 9


def test_no_available_version_is_a_503(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        running.stub.always = Fault(Code.NOT_FOUND, "no such model")
        answer = running.predict("a")
        assert error_of(answer) == (503, "model_unavailable")
        assert "no such model" not in answer.text
        ready = running.client.get("/readyz")
        assert (ready.status_code, ready.json()["model_server"]) == (503, "away")


def test_model_route_returns_labels_evaluation_and_rollout(tmp_path: Path) -> None:
    evaluation = {"metric": "accuracy", "metrics": {"accuracy": 0.9}, "examples": 100}
    with gateway(tmp_path, prepare=rollout("shadow"), evaluation=evaluation) as running:
        body = running.client.get("/v1/model").json()
        assert (body["version"], body["available"]) == (7, [7])
        assert body["labels"] == ["bad", "good"]
        assert body["evaluation"] == evaluation
        assert (body["rollout"]["stage"], body["rollout"]["candidate"]) == ("shadow", 8)
        assert running.client.get("/readyz").json() == {
            "model_server": "ok",
            "database": "ok",
            "gateway": "ok",
        }


def test_without_any_version_the_state_is_empty(tmp_path: Path) -> None:
    with gateway(tmp_path, rollouts=False) as running:
        running.stub.always = Fault(Code.UNAVAILABLE)
        body = running.client.get("/v1/model").json()
        assert (body["version"], body["available"], body["rollout"]) == (None, [], None)
        assert (body["facts"], body["evaluation"]) == ({}, {})
