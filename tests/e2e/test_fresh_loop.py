"""The whole loop with real processes: drift, feedback, a new run, a canary and a rollback.

A film classifier receives reviews of hotels, food, books and products. Drift is raised; feedback
arrives and starts a run; the better model is rolled out in stages under load, and no request fails.
Then data with flipped labels is delivered: the model trained on it passes its own test, which is
flipped, too, but is rolled back automatically because of the users' feedback.
"""

import csv
import dataclasses
import itertools
import json
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import SAMPLE, Workplace
from tests.e2e.services import Service, wait_for
from tests.pipeline.database_servers import free_port

REAL_DATA = "BERT_REAL_DATA"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(
        REAL_DATA not in os.environ,
        reason=f"{REAL_DATA} does not name a folder with imdb_5k.csv",
    ),
]

FILMS = int(os.environ.get("BERT_LOOP_FILMS", "2000"))
FLIP = {"0": "1", "1": "0"}


@dataclasses.dataclass
class Loop:
    """Services of one workplace, and the reviews that its users send."""

    workplace: Workplace
    server: Service
    gateway: Service
    watcher: Service
    reviews: list[tuple[str, str]]
    films: list[tuple[str, str]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.workplace.settings['gateway.port']}"

    def predict(self, texts: list[str], user: str = "") -> dict:
        headers = {"x-sticky-key": user} if user else {}
        answer = httpx.post(
            f"{self.url}/v1/predict", json={"texts": texts}, headers=headers, timeout=60
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def vote(self, prediction_id: str, label: str) -> None:
        body = {"prediction_id": prediction_id, "label": label}
        answer = httpx.post(f"{self.url}/v1/feedback", json=body, timeout=60)
        assert answer.status_code == 202, answer.text

    def rollout(self) -> dict:
        done = self.workplace.bert("rollout", "status", "--json")
        assert done.returncode == 0, done.stdout
        return json.loads(done.stdout)

    def explain(self) -> str:
        return self.watcher.tail() + self.workplace.log()


class Load:
    """Users who constantly send reviews and give feedback with the right label."""

    def __init__(self, loop: Loop, reviews: list[tuple[str, str]]) -> None:
        self._loop = loop
        self._reviews = reviews
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go)
        self.failures: list[str] = []
        self.versions: dict[int, int] = {}
        self.requests = 0

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _go(self) -> None:
        choose = random.Random(5)
        while not self._ended.wait(0.05):
            text, label = choose.choice(self._reviews)
            self.requests += 1
            try:
                # Many users, because a canary always answers the same ones.
                answer = self._loop.predict([text], f"user-{self.requests % 50}")
                self.versions.setdefault(answer["model_version"], self.requests)
                self._loop.vote(answer["predictions"][0]["id"], label)
            except (AssertionError, httpx.TransportError) as error:
                self.failures.append(str(error))


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("loop")
    films = _film_rows()
    _write_rows(folder / "films.csv", films[:FILMS])
    ports = {name: str(free_port()) for name in ("gateway", "grpc", "rest")}
    workplace = Workplace(
        folder,
        {
            "data.path": "films.csv",
            "pusher.base_directory": "models",
            "trainer.max_length": "96",
            "trainer.epochs": "2",
            "trainer.early_stopping_patience": "0",
            "gateway.port": ports["gateway"],
            "gateway.server_url": f"grpc://127.0.0.1:{ports['grpc']}",
            "gateway.requests_per_minute": "0",
            "drift.min_texts": "100",
            "triggers.interval_seconds": "2",
            "triggers.cooldown_minutes": "0",
            "triggers.min_new_examples": "700",
            "rollout.enabled": "true",
            "rollout.min_requests": "40",
            "rollout.canary_share": "0.3",
            "rollout.max_latency_ratio": "10.0",
            # The better model must differ where the old one is wrong.
            "rollout.max_disagreement": "0.6",
        },
    )
    workplace.run()
    serve = ["serve", f"--port={ports['grpc']}", f"--rest_api_port={ports['rest']}"]
    loop = Loop(
        workplace,
        Service("server", serve, workplace, f"http://127.0.0.1:{ports['rest']}/readyz"),
        Service("gateway", ["gateway"], workplace, f"http://127.0.0.1:{ports['gateway']}/readyz"),
        Service("watch", ["watch"], workplace),
        _other_reviews(),
        films[FILMS:],
    )
    services = (loop.server, loop.gateway, loop.watcher)
    try:
        for service in services:
            service.start()
        loop.server.wait_until_ready()
        loop.gateway.wait_until_ready()
        yield loop
    finally:
        for service in reversed(services):
            if service.process:
                service.stop()


def test_new_domain_raises_drift_and_starts_nothing_without_feedback(loop: Loop) -> None:
    for start in range(0, len(loop.reviews), 50):
        loop.predict([text for text, _ in loop.reviews[start : start + 50]])
    done = loop.workplace.bert("drift", "--json")
    report = json.loads(done.stdout)
    assert report["drift"]["raised"], done.stdout
    assert len(loop.workplace.versions()) == 1


def test_feedback_starts_a_run_whose_model_is_promoted_without_a_failed_request(loop: Loop) -> None:
    first = int(loop.workplace.versions()[0])
    for start in range(0, len(loop.reviews), 50):
        batch = loop.reviews[start : start + 50]
        answer = loop.predict([text for text, _ in batch])
        for prediction, (_, label) in zip(answer["predictions"], batch, strict=True):
            loop.vote(prediction["id"], label)
    wait_for(lambda: len(loop.workplace.versions()) == 2, "a push", loop.explain, 900)
    second = int(loop.workplace.versions()[1])
    with Load(loop, loop.reviews) as load:
        wait_for(lambda: loop.rollout()["stable"] == second, "the promotion", loop.explain, 600)
        seen = load.requests
        wait_for(lambda: load.requests > seen + 20, "traffic after the promotion")
    assert not load.failures
    assert set(load.versions) == {first, second}
    assert loop.workplace.decision()["baseline"]
    events = [event["action"] for event in loop.rollout()["events"]]
    assert {"adopt", "start", "advance", "promote"} <= set(events)


def test_prediction_is_traced_to_its_data_and_code(loop: Loop) -> None:
    answer = loop.predict(["The breakfast was cold and the staff were colder."])
    done = loop.workplace.bert("trace", answer["predictions"][0]["id"], "--json")
    assert done.returncode == 0, done.stdout
    trace = json.loads(done.stdout)
    assert str(answer["model_version"]) in done.stdout
    assert "films.csv" in done.stdout
    assert "span" in done.stdout
    assert trace


def test_model_of_flipped_labels_is_rolled_back_automatically(loop: Loop) -> None:
    stable = loop.rollout()["stable"]
    films = loop.workplace.folder / "films.csv"
    flipped = [(text, FLIP[label]) for text, label in _film_rows()[:FILMS]]
    part = films.with_suffix(".part")
    _write_rows(part, flipped)
    os.replace(part, films)
    wait_for(lambda: len(loop.workplace.versions()) == 3, "a push", loop.explain, 900)
    bad = int(loop.workplace.versions()[2])
    with Load(loop, loop.films) as load:
        wait_for(lambda: bad in loop.rollout()["rejected"], "the rollback", loop.explain, 600)
    assert not load.failures
    assert loop.rollout()["stable"] == stable


def _film_rows() -> list[tuple[str, str]]:
    """Return ``FILMS`` rows to train on, and 300 more."""
    source = Path(os.environ[REAL_DATA]) / "imdb_5k.csv"
    with source.open(newline="", encoding="utf-8") as file:
        rows = list(itertools.islice(csv.DictReader(file), FILMS + 300))
    return [(row["text"], row["label"]) for row in rows]


def _write_rows(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def _other_reviews() -> list[tuple[str, str]]:
    """Return the bundled reviews of everything except films, with the labels of the films."""
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        return [
            (row["text"], str(int(row["label"] == "positive")))
            for row in csv.DictReader(file)
            if row["domain"] != "films"
        ]
