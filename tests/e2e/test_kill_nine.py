"""Repeated ``kill -9`` of gateway, watcher, model server and database under traffic.

Acknowledged feedback is always stored exactly once, two runs are never running at the same time,
and the loop continues: predictions are answered, and feedback starts runs.
"""

import collections
import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import select

from serving.records.database import Database
from serving.records.tables import FeedbackRow, TriggeredRunRow
from tests.e2e.conftest import SAMPLE, Workplace, take_rows
from tests.e2e.services import Service, active_runs, wait_for
from tests.pipeline.database_servers import (
    as_account,
    find_program,
    free_port,
    postgresql,
)
from tests.tiny_bert import write_tiny_bert

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1500),
]

ROUNDS = int(os.environ.get("BERT_KILL_ROUNDS", "50"))
SEED = 20_26


class DatabaseServer:
    """PostgreSQL server that can be killed and restarted on the same data."""

    name = "database"

    def __init__(self, url: str) -> None:
        with psycopg.connect(url) as connection:
            [data] = connection.execute("SHOW data_directory").fetchone() or [""]
        self._folder = Path(data).parent
        self._port = url.rpartition(":")[2].partition("/")[0]
        program = find_program("postgres", "usr/lib/postgresql/*/bin/postgres")
        assert program
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """Kill the server and its children at once, as the kernel does when out of memory."""
        pid_file = self._folder / "data" / "postmaster.pid"
        pid = self._process.pid if self._process else int(pid_file.read_text().split()[0])
        with_children = subprocess.run(
            ["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False
        )
        for victim in [pid, *map(int, with_children.stdout.split())]:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
        # To the next server, a dead process looks alive until its parent has waited for it.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)

    def start(self) -> None:
        """Start the server, as a supervisor does: retry until all killed processes have ended.

        Raises:
            AssertionError: it did not start in 60 attempts.
        """
        for _ in range(60):
            with (self._folder / "server.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [
                        self._program, "-D", self._folder / "data", "-p", self._port,
                        "-k", self._folder, "-h", "127.0.0.1",
                    ],
                    stdout=log, stderr=subprocess.STDOUT,
                    cwd=self._folder, **as_account("postgres"),
                )  # fmt: skip
            try:
                self._process.wait(0.5)
            except subprocess.TimeoutExpired:
                return
        raise AssertionError((self._folder / "server.log").read_text("utf-8")[-2000:])

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()


class Traffic:
    """Constant predictions and feedback, with a record of the acknowledged feedback."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._go, args=[number]) for number in range(3)]
        self.acknowledged: dict[str, str] = {}
        self.answers: collections.Counter[tuple[str, int]] = collections.Counter()

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _go(self, number: int) -> None:
        count = 0
        while not self._ended.is_set():
            count += 1
            text = (
                f"Room {count} of house {number} was warm, the {count * 7 % 101} stairs were not."
            )
            label = ("positive", "negative")[count % 2]
            body = {"text": text, "label": label}
            status, answer = self._send("predict", {"text": text})
            if status == 200 and count % 3:
                body = {"prediction_id": answer["predictions"][0]["id"], "label": label}
            self._vote(text, body)
            time.sleep(0.02)

    def _vote(self, text: str, body: dict[str, str]) -> None:
        """Send feedback until it is acknowledged, as a careful client does."""
        while not self._ended.is_set():
            status, _ = self._send("feedback", body)
            if status == 202:
                self.acknowledged[text] = body["label"]
                return
            if status == 404:  # the prediction was not written before a kill
                body = {"text": text, "label": body["label"]}
            time.sleep(0.1)

    def _send(self, path: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Return status and body of the response; the status is 0 if there was none."""
        try:
            answer = httpx.post(f"{self._url}/v1/{path}", json=body, timeout=20)
        except httpx.TransportError:
            return 0, {}
        self.answers[path, answer.status_code] += 1
        return answer.status_code, answer.json()


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workplace, DatabaseServer]]:
    folder = tmp_path_factory.mktemp("kill")
    write_tiny_bert(folder / "encoder")
    take_rows(SAMPLE, folder / "reviews.csv", 200)
    with postgresql("kill-nine") as url:
        ports = {name: free_port() for name in ("gateway", "rest", "grpc")}
        settings = {
            "data.path": "reviews.csv",
            "pusher.base_directory": "models",
            "trainer.encoder": "encoder",
            "trainer.max_length": "32",
            "trainer.epochs": "1",
            "evaluator.floors": '[{metric = "accuracy", min = 0.0}]',
            "evaluator.margin": "-1",
            "feedback.database_url": url,
            "gateway.port": str(ports["gateway"]),
            "gateway.server_url": f"grpc://127.0.0.1:{ports['grpc']}",
            "triggers.interval_seconds": "0.5",
            "triggers.drift": "false",
            "triggers.new_data": "false",
            "triggers.feedback_examples": "20",
            "triggers.cooldown_minutes": "0",
            "triggers.runs_per_day": "1000",
            "rollout.enabled": "true",
            "rollout.stages": '["canary"]',
            "rollout.min_requests": "20",
            "rollout.max_disagreement": "1.0",
            "rollout.max_latency_ratio": "1000.0",
            "rollout.max_error_rate": "1.0",
            "rollout.max_accuracy_loss": "1.0",
        }
        workplace = Workplace(folder, settings)
        workplace.run()
        yield workplace, DatabaseServer(url)


def test_no_acknowledged_feedback_is_lost_and_the_loop_continues(
    pushed: tuple[Workplace, DatabaseServer],
) -> None:
    workplace, database = pushed
    settings = workplace.settings
    gateway_url = f"http://127.0.0.1:{settings['gateway.port']}"
    rest_port = free_port()
    grpc_port = settings["gateway.server_url"].rpartition(":")[2]
    server = Service(
        "server",
        ["serve", f"--port={grpc_port}", f"--rest_api_port={rest_port}"],
        workplace,
        f"http://127.0.0.1:{rest_port}/readyz",
    )
    gateway = Service("gateway", ["gateway"], workplace, f"{gateway_url}/readyz")
    watcher = Service("watch", ["watch"], workplace)
    choose = random.Random(SEED)
    at_once: list[int] = []
    ended = threading.Event()
    observer = threading.Thread(target=_observe, args=[workplace, at_once, ended])
    try:
        for service in (server, gateway, watcher):
            service.start()
        server.wait_until_ready()
        gateway.wait_until_ready()
        observer.start()
        with Traffic(gateway_url) as traffic:
            for _ in range(ROUNDS):
                time.sleep(choose.uniform(0.0, 2.0))
                victim = choose.choice([server, gateway, watcher, database])
                victim.kill()
                time.sleep(choose.uniform(0.0, 0.5))
                victim.start()
            server.wait_until_ready()
            gateway.wait_until_ready()
            before, answered = len(traffic.acknowledged), traffic.answers["predict", 200]
            wait_for(lambda: len(traffic.acknowledged) > before + 20, "feedback to be taken again")
            wait_for(
                lambda: traffic.answers["predict", 200] > answered + 20, "answers to come again"
            )
        _wait_for_a_run(workplace, watcher)
        assert watcher.process is not None
        assert watcher.process.poll() is None, watcher.tail()
    finally:
        ended.set()
        if observer.ident:
            observer.join()
        for service in (watcher, gateway, server):
            if service.process:
                service.stop()
        database.stop()
        for pid in active_runs(workplace):
            os.kill(pid, signal.SIGKILL)
    refusals = {key for key in traffic.answers if key[1] >= 400}
    assert {status for _, status in refusals} <= {404, 503, 504}
    assert ("predict", 404) not in refusals
    assert max(at_once) == 1
    database.start()
    _check_votes(settings["feedback.database_url"], traffic.acknowledged)
    database.stop()


def _check_votes(url: str, acknowledged: dict[str, str]) -> None:
    """Check that each acknowledged feedback item is stored once, with its label."""
    stored: list[tuple[str, str]] = []

    def read() -> bool:
        try:
            database = Database(url)
        except Exception:
            return False
        with database.read() as session:
            stored.extend(session.execute(select(FeedbackRow.text, FeedbackRow.label)).tuples())
        database.close()
        return True

    wait_for(read, "the database", seconds=60)
    votes = collections.defaultdict(list)
    for text, label in stored:
        votes[text].append(label)
    assert len(acknowledged) > ROUNDS
    wrong = {text: votes[text] for text, label in acknowledged.items() if votes[text] != [label]}
    assert not wrong


def _wait_for_a_run(workplace: Workplace, watcher: Service) -> None:
    """Wait until a run that the test's feedback started has succeeded."""
    database = Database(workplace.settings["feedback.database_url"])

    def has_ended() -> bool:
        with database.read() as session:
            states = session.scalars(select(TriggeredRunRow.state)).all()
        return "succeeded" in states

    try:
        wait_for(has_ended, "a triggered run to succeed", watcher.tail, seconds=400)
    finally:
        database.close()


def _observe(workplace: Workplace, at_once: list[int], ended: threading.Event) -> None:
    while not ended.wait(0.2):
        at_once.append(len(active_runs(workplace)))
