import concurrent.futures
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from serving.records.tables import FeedbackRow, PredictionRow
from tests.serving.gateway.gateways import Gateway, error_of, gateway


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("gateway"), max_text_characters=200) as running:
        running.become_admin()
        yield running


def votes(running: Gateway) -> int:
    with running.database.read() as session:
        return session.scalar(select(func.count()).select_from(FeedbackRow)) or 0


@contextlib.contextmanager
def database_away(running: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse() -> Any:
        raise OperationalError("SELECT secret", {}, Exception("the server closed the connection"))

    with monkeypatch.context() as patch:
        patch.setattr(running.database, "begin", refuse)
        patch.setattr(running.database, "read", refuse)
        yield


def test_feedback_is_accepted_right_after_its_prediction(shared: Gateway) -> None:
    for _ in range(20):  # most items arrive before the prediction is written
        prediction = shared.predict("a good film").json()["predictions"][0]
        answer = shared.feedback(prediction_id=prediction["id"], label="bad")
        assert answer.status_code == 202, answer.text
    assert answer.json() == {
        "feedback_id": answer.json()["feedback_id"],
        "created": True,
        "known": True,
        "label": "bad",
    }


def test_repeated_feedback_is_stored_once(shared: Gateway) -> None:
    request_id = shared.predict("once").json()["request_id"]
    before = votes(shared)
    first = shared.feedback(request_id=request_id, label="good").json()
    again = shared.feedback(prediction_id=f"{request_id}-0", label="good").json()
    assert (first["created"], again["created"]) == (True, False)
    assert first["feedback_id"] == again["feedback_id"]
    assert votes(shared) == before + 1


def test_concurrent_equal_feedback_is_stored_once(shared: Gateway) -> None:
    request_id = shared.predict("at once").json()["request_id"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(shared.feedback, request_id=request_id, label="good") for _ in range(8)]
        answers = [future.result().json() for future in sent]
    assert len({answer["feedback_id"] for answer in answers}) == 1
    assert sum(answer["created"] for answer in answers) == 1


def test_unknown_label_is_set_aside(shared: Gateway) -> None:
    answer = shared.feedback(text="neither", label="so-so")
    assert answer.status_code == 202
    assert answer.json()["known"] is False
    listed = shared.client.get("/v1/feedback?state=new_class").json()
    assert [item["text"] for item in listed["items"]] == ["neither"]
    assert listed["counts"]["new_class"] == 1


@pytest.mark.parametrize(
    ("vote", "status", "code"),
    [
        ({"prediction_id": "f" * 32 + "-0", "label": "good"}, 404, "unknown_prediction"),
        ({"request_id": "nothing", "label": "good"}, 404, "unknown_prediction"),
        ({"prediction_id": "a\0b", "label": "good"}, 404, "unknown_prediction"),
        ({"label": "good"}, 422, "invalid_request"),
        ({"prediction_id": "a", "request_id": "a", "label": "good"}, 422, "invalid_request"),
        ({"text": "a"}, 422, "invalid_request"),
        ({"text": "a", "label": ""}, 422, "invalid_request"),
        ({"text": "a", "label": " "}, 422, "invalid_label"),
        ({"text": "a", "label": "a\0"}, 422, "invalid_label"),
        ({"text": "a\0", "label": "good"}, 422, "invalid_text"),
        ({"text": "", "label": "good"}, 422, "invalid_text"),
        ({"text": "a" * 201, "label": "good"}, 422, "text_too_long"),
        ({"text": "a", "label": "l" * 201}, 422, "invalid_request"),
        ({"items": []}, 422, "invalid_request"),
    ],
)
def test_invalid_feedback_is_refused_and_not_stored(
    shared: Gateway, vote: dict[str, Any], status: int, code: str
) -> None:
    before = votes(shared)
    assert error_of(shared.feedback(**vote)) == (status, code)
    assert votes(shared) == before


def test_request_id_of_several_texts_is_refused(shared: Gateway) -> None:
    request_id = shared.predict("one", "two").json()["request_id"]
    assert error_of(shared.feedback(request_id=request_id, label="good"))[0] == 404


def test_feedback_items_are_stored_or_refused_separately(shared: Gateway) -> None:
    items = [
        {"text": "first", "label": "good"},
        {"prediction_id": "unknown", "label": "good"},
        {"text": "third", "label": "bad"},
    ]
    answer = shared.client.post("/v1/feedback", json={"items": items})
    assert answer.status_code == 202
    first, second, third = answer.json()["items"]
    assert (first["created"], third["created"]) == (True, True)
    assert second["error"]["code"] == "unknown_prediction"


def test_feedback_needs_the_text_if_texts_are_not_stored(tmp_path: Path) -> None:
    with gateway(tmp_path, store_texts=False) as running:
        prediction = running.predict("a film").json()["predictions"][0]["id"]
        refused = running.feedback(prediction_id=prediction, label="good")
        assert error_of(refused) == (422, "text_not_kept")
        other = running.feedback(prediction_id=prediction, text="another", label="good")
        assert error_of(other) == (422, "text_mismatch")
        kept = running.feedback(prediction_id=prediction, text="a film", label="good")
        assert kept.status_code == 202


def test_review_sets_the_label_or_discards_the_text(shared: Gateway) -> None:
    shared.feedback(text="reviewed", label="good")
    answer = shared.client.post("/v1/reviews", json={"text": "reviewed", "label": "bad"})
    assert answer.status_code == 200
    items = shared.client.get("/v1/feedback?state=usable&limit=1000").json()["items"]
    (item,) = [item for item in items if item["text"] == "reviewed"]
    assert (item["label"], item["reviewed"]) == ("bad", True)
    discard = {"text_identity": answer.json()["text_identity"], "label": None}
    assert shared.client.post("/v1/reviews", json=discard).status_code == 200
    items = shared.client.get("/v1/feedback?state=discarded").json()["items"]
    assert [item["text"] for item in items] == ["reviewed"]
    nobody = shared.client.post("/v1/reviews", json={"text": "nobody's", "label": "bad"})
    assert error_of(nobody)[0] == 404


def test_review_with_an_unknown_label_is_refused_unless_it_is_a_new_class(
    shared: Gateway,
) -> None:
    shared.feedback(text="mistyped", label="good")

    def review(**values: Any) -> Any:
        return shared.client.post("/v1/reviews", json={"text": "mistyped", **values})

    for values in ({}, {"new_class": False}):
        answer = review(label="goood", **values)
        assert error_of(answer) == (422, "invalid_label")
        assert "bad, good" in answer.json()["error"]["message"]
        assert "new_class" in answer.json()["error"]["message"]
    assert error_of(review(label=None, new_class=True)) == (422, "invalid_request")
    items = shared.client.get("/v1/feedback?limit=1000").json()["items"]
    assert not any(item["reviewed"] for item in items if item["text"] == "mistyped")
    assert review(label="sarcastic", new_class=True).json()["label"] == "sarcastic"


def test_gateway_predicts_while_the_database_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gateway(tmp_path) as running:
        assert running.predict("before").json()["stored"] is True
        running.flush()
        with database_away(running, monkeypatch):
            first = running.predict("meanwhile").json()
            assert not running.parts.recorder.flush(5)
            answer = running.predict("again")
            assert answer.status_code == 200
            assert answer.json()["stored"] is False
            refused = running.feedback(text="a film", label="good")
            assert error_of(refused) == (503, "database_unavailable")
            assert "retry-after" in refused.headers
            assert error_of(running.client.get("/v1/decisions")) == (503, "database_unavailable")
            ready = running.client.get("/readyz")
            assert (ready.status_code, ready.json()["database"]) == (503, "away")
            assert running.client.get("/healthz").status_code == 200
        late = running.feedback(request_id=first["request_id"], label="good")
        while late.status_code == 503:  # the recorder has not tried again yet
            late = running.feedback(request_id=first["request_id"], label="good")
        assert late.status_code == 202
        assert running.client.get("/readyz").json()["database"] == "ok"


def test_predictions_over_the_queue_limit_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gateway(tmp_path) as running:
        running.predict("fits")
        running.flush()
        monkeypatch.setattr(running.parts.recorder, "_max_waiting", 3)
        with database_away(running, monkeypatch):
            for _ in range(3):
                running.predict("fits")
            assert running.predict("too much").json()["stored"] is False
            metrics = running.client.get("/metrics").text
            assert 'bert_gateway_records_total{outcome="dropped"} 1.0' in metrics
            assert "bert_gateway_records_waiting 3.0" in metrics
        while not running.parts.recorder.flush(10):
            pass
        with running.database.read() as session:
            texts = session.scalars(select(PredictionRow.text)).all()
        assert texts == ["fits"] * 4
