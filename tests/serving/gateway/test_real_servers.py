"""The gateway in a separate process: with PostgreSQL, with ``bert serve``, and at shutdown."""

import contextlib
import http.client
import json
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from serving.client import Client
from serving.records.database import Database
from serving.records.tables import FeedbackRow, PredictionRow
from tests.serving.bert_server import bert_serve, environment, write_classifier
from tests.serving.client.client_stubs import grpc_stub
from tests.serving.gateway.gateways import gateway, write_labels
from tests.serving.gateway.live_gateway import LiveGateway, command, live_gateway

pytestmark = pytest.mark.slow


def post(running: LiveGateway, path: str, body: Any) -> Any:
    request = urllib.request.Request(
        running.url + path, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def wait_until_closed(running: LiveGateway) -> None:
    """Wait until the gateway accepts no more connections."""
    with contextlib.suppress(urllib.error.URLError, http.client.HTTPException, OSError):
        while True:
            urllib.request.urlopen(f"{running.url}/healthz", timeout=10)


def test_every_database_keeps_predictions_and_votes(tmp_path: Path, database_url: str) -> None:
    with gateway(tmp_path, database_url=database_url, authentication="required") as running:
        headers = running.key("predict", "feedback")
        body = running.predict("a good film", "Ünï ☃", headers=headers).json()
        assert body["stored"] is True
        ids = [prediction["id"] for prediction in body["predictions"]]
        for _ in range(2):
            vote = {"prediction_id": ids[1], "label": "good"}
            answer = running.client.post("/v1/feedback", json=vote, headers=headers)
            assert answer.status_code == 202
        nul = {"texts": ["a\0b"]}
        assert running.client.post("/v1/predict", json=nul, headers=headers).status_code == 422
        with running.database.read() as session:
            texts = session.scalars(select(PredictionRow.text).where(PredictionRow.id.in_(ids)))
            assert set(texts) == {"a good film", "Ünï ☃"}
            (kept,) = session.scalars(
                select(FeedbackRow).where(FeedbackRow.prediction_id == ids[1])
            )
        assert (kept.text, kept.label, kept.predicted_label) == ("Ünï ☃", "good", "bad")
        admin = running.key("admin")
        review = {"text": "Ünï ☃", "label": "bad"}
        answer = running.client.post("/v1/reviews", json=review, headers=admin)
        assert answer.status_code == 200
        assert running.client.get("/readyz").status_code == 200
        assert running.client.get("/v1/decisions", headers=admin).json() == {"items": []}


def test_gateway_predicts_with_bert_serve(tmp_path: Path) -> None:
    base = tmp_path / "models"
    write_classifier(base / "5")
    options = (f"pusher.base_directory={base}", f"pipeline.root={tmp_path}/root")
    with (
        bert_serve("--model_base_path", str(base), folder=tmp_path) as server,
        live_gateway(tmp_path, server.grpc, *options) as running,
        Client(server.grpc) as client,
    ):
        texts = ["A good film.", "A bad hotel.", ""]
        body = post(running, "/v1/predict", {"texts": texts})
        assert body["model_version"] == 5
        for shown, answer in zip(body["predictions"], client.predict(texts), strict=True):
            assert shown["label"] == answer.label
            assert shown["score"] == pytest.approx(answer.score, abs=1e-4)
            assert sum(shown["scores"].values()) == pytest.approx(1, abs=1e-3)
        vote = {"prediction_id": body["predictions"][0]["id"], "label": "good"}
        assert post(running, "/v1/feedback", vote)["created"] is True
        with urllib.request.urlopen(f"{running.url}/readyz") as ready:
            assert ready.status == 200


def test_sigterm_answers_and_stores_running_requests(tmp_path: Path) -> None:
    write_labels(tmp_path / "models")
    url = f"sqlite:///{tmp_path}/records.sqlite"
    options = (f"feedback.database_url={url}", f"pusher.base_directory={tmp_path}/models")
    answers: list[Any] = []
    with grpc_stub() as stub, live_gateway(tmp_path, stub.url, *options) as running:
        post(running, "/v1/predict", {"text": "warm"})
        calls = len(stub.calls)
        stub.gate.clear()
        asking = threading.Thread(
            target=lambda: answers.append(post(running, "/v1/predict", {"text": "last words"}))
        )
        asking.start()
        while not any(call.texts == ["last words"] for call in stub.calls[calls:]):
            time.sleep(0.01)
        running.process.send_signal(signal.SIGTERM)
        wait_until_closed(running)
        stub.gate.set()
        asking.join(30)
        assert running.process.wait(30) == 0
    assert answers[0]["predictions"][0]["label"] == "bad"
    database = Database(url)
    with database.read() as session:
        assert "last words" in session.scalars(select(PredictionRow.text)).all()
    database.close()
    requests = [line for line in running.log if line["event"] == "request"]
    assert {line["route"] for line in requests} >= {"/v1/predict", "/healthz"}
    assert "last words" not in json.dumps(running.log)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "bert keys create"),
        (["--port", "99999"], "gateway.port"),
        (["--server_url", "ftp://x"], "gateway.server_url"),
    ],
)
def test_invalid_settings_end_the_start_with_one_line(
    tmp_path: Path, options: list[str], words: str
) -> None:
    settings = ["--set", f"pipeline.root={tmp_path}/root"]
    ended = subprocess.run(
        command(*options, *settings),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 2
    assert words in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
