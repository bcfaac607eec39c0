"""``bert serve`` under a rollout: its settings, and real processes that swap versions."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cli.commands.serve import rollout_flags
from modules.contract.errors import UserError
from pipeline.config import Config, load
from serving.client import Client, ClientError
from serving.protocol.errors import Code
from serving.records.database import Database
from serving.rollout import model_config_file
from serving.rollout.controller import RolloutController
from serving.rollout.server_status import AskedServer
from serving.rollout.state import LOADING, RolloutStore
from tests.serving import half_plus_two
from tests.serving.bert_server import bert_serve, environment

PATIENCE = 120


def settings(folder: Path) -> list[str]:
    return [
        f"pipeline.root={folder}/root",
        f"pusher.base_directory={folder}/pushed",
        "rollout.enabled=true",
    ]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(assignments=settings(tmp_path), environ={})


def push(config: Config, version: int) -> None:
    """Push as the Pusher does: write to a temporary folder, then rename it."""
    base = Path(config.push_directory())
    half_plus_two.write(base / f"{version}.part", increment=float(version))
    os.rename(base / f"{version}.part", base / str(version))


def push_broken(config: Config, version: int) -> None:
    """Push a version that no server can load."""
    folder = Path(config.push_directory()) / str(version)
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\xff no model")


def test_newest_version_is_adopted_and_the_config_file_polled(config) -> None:
    push(config, 1)
    push(config, 2)
    flags = rollout_flags(config, {"port": 0})
    assert flags["model_config_file"] == str(model_config_file.path(config.push_directory()))
    assert flags["model_config_file_poll_wait_seconds"] == 1.0
    assert flags["allow_version_labels_for_unavailable_models"]
    assert flags["port"] == 0
    assert 'key: "stable" value: 2' in Path(flags["model_config_file"]).read_text()


def test_command_line_overrides_the_defaults(config) -> None:
    push(config, 1)
    given = {"model_config_file_poll_wait_seconds": 0.1, "load_retry_interval_micros": 5}
    assert rollout_flags(config, given).items() >= given.items()


def test_other_model_name_is_refused(config) -> None:
    with pytest.raises(UserError, match=r"set gateway\.model_name"):
        rollout_flags(config, {"model_name": "other"})


def test_serving_needs_a_pushed_version(config) -> None:
    with pytest.raises(UserError, match="`bert run` trains and pushes one"):
        rollout_flags(config, {})


def test_last_config_file_is_served_without_the_database(config, tmp_path) -> None:
    push(config, 1)
    file = rollout_flags(config, {})["model_config_file"]
    away = load(
        assignments=[
            *settings(tmp_path), "feedback.database_url=postgresql://nobody@127.0.0.1:9/none",
        ],
        environ={},
    )  # fmt: skip
    assert rollout_flags(away, {})["model_config_file"] == file
    Path(file).unlink()
    with pytest.raises(UserError, match="cannot be opened"):
        rollout_flags(away, {})


class Callers:
    """Threads that call the label ``stable`` until they are stopped."""

    def __init__(self, url: str, count: int = 3) -> None:
        self._url = url
        self._stop = threading.Event()
        self.errors: list[str] = []
        self.versions: list[float] = []
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with Client(self._url, label="stable", timeout=30, retries=0) as client:
            while not self._stop.is_set():
                try:
                    self.versions.append(ask(client))
                except ClientError as error:
                    self.errors.append(str(error))

    def ask_more(self, count: int = 30) -> None:
        goal = len(self.versions) + count
        wait_for(lambda: len(self.versions) >= goal or self.errors)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)


def ask(client: Client) -> float:
    """Return the version that answers; the model computes 2 / 2 + version."""
    return float(client.predict_tensors({"x": [2.0]})["y"][0]) - 1


def wait_for(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def bert(folder: Path, url: str, *words: str) -> subprocess.CompletedProcess:
    options = [f"--set={each}" for each in [*settings(folder), f"gateway.server_url={url}"]]
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *words, *options],
        cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.slow
def test_callers_see_no_error_while_versions_swap_and_a_broken_one_is_pushed(
    config, tmp_path
) -> None:
    push(config, 1)
    options = [f"--set={each}" for each in settings(tmp_path)]
    flags = ["--max_num_load_retries", "0", "--model_config_file_poll_wait_seconds", "0.2"]
    database = Database(config.database_url())
    store = RolloutStore(database)

    with bert_serve(*options, *flags, folder=tmp_path) as server:
        status = AskedServer(server.grpc, "default")
        controller = RolloutController(
            database, config.push_directory(), "default", config.rollout, status
        )

        def available(version: int) -> bool:
            found = (status() or {}).get(version)
            return found is not None and found.available

        callers = Callers(server.grpc)
        by_stable = Client(server.grpc, label="stable", timeout=30)
        callers.ask_more()
        assert ask(by_stable) == 1

        # A push alone changes nothing; the candidate is loaded next to the stable version.
        push(config, 2)
        controller.step(time.time())
        assert store.read("default").stage == LOADING
        wait_for(lambda: available(2))
        controller.step(time.time())
        assert (store.read("default").candidate, store.read("default").stage) == (2, "shadow")
        assert ask(by_stable) == 1
        callers.ask_more()

        done = bert(tmp_path, server.grpc, "promote")
        assert done.returncode == 0, done.stderr
        wait_for(lambda: ask(by_stable) == 2)
        assert available(1)  # for a rollback
        callers.ask_more()

        # The newest version cannot be loaded: it never takes traffic, and is rejected.
        push_broken(config, 3)
        controller.step(time.time())
        wait_for(lambda: controller.step(time.time()) or 3 in store.read("default").rejected)
        assert store.read("default").stable == 2
        assert "the model server cannot load it" in store.events("default")[0].reason
        done = bert(tmp_path, server.grpc, "promote", "3")
        assert done.returncode == 2
        assert "cannot load version 3" in done.stderr
        callers.ask_more()

        # A rollback while the newest version cannot be loaded.
        push_broken(config, 4)
        controller.step(time.time())
        assert store.read("default").candidate == 4
        assert bert(tmp_path, server.grpc, "rollback").returncode == 0
        assert store.read("default").stable == 2
        started = time.monotonic()
        done = bert(tmp_path, server.grpc, "rollback", "--reason", "worse")
        wait_for(lambda: ask(by_stable) == 1)
        print(f"rolled back in {time.monotonic() - started:.1f} s")
        assert done.returncode == 0, done.stderr
        assert "version 2 is rolled back; version 1 receives all traffic" in done.stdout
        callers.ask_more()
        wait_for(lambda: not available(2))
        callers.ask_more()

        shown = bert(tmp_path, server.grpc, "rollout", "status", "--json")
        record = json.loads(shown.stdout)
        assert (record["stable"], record["rejected"]) == (1, [2, 3, 4])
        assert record["server_answers"]
        callers.stop()
        by_stable.close()
        assert callers.errors == []
        assert set(callers.versions) == {1, 2}
        assert server.stop() == 0

    # Without the model server, a rollback works and a promotion needs --force.
    push(config, 5)
    done = bert(tmp_path, server.grpc, "promote", "5")
    assert done.returncode == 2
    assert "the model server does not answer" in done.stderr
    assert bert(tmp_path, server.grpc, "promote", "5", "--force").returncode == 0
    assert bert(tmp_path, server.grpc, "rollback").returncode == 0
    assert store.read("default").stable == 1
    database.close()


@pytest.mark.slow
def test_restarted_server_is_ready_with_the_stable_version(config, tmp_path) -> None:
    """Ready means that the stable version is loaded, even if the candidate is broken."""
    push(config, 1)
    rollout_flags(config, {})
    push_broken(config, 2)
    database = Database(config.database_url())
    RolloutController(
        database, config.push_directory(), "default", config.rollout, lambda: None
    ).step(time.time())
    assert RolloutStore(database).read("default").candidate == 2
    database.close()
    options = [f"--set={each}" for each in settings(tmp_path)]
    with bert_serve(*options, folder=tmp_path) as server:
        with Client(server.grpc, label="stable", timeout=30, retries=0) as client:
            assert ask(client) == 1
        with (
            Client(server.grpc, version=2, timeout=30, retries=0) as client,
            pytest.raises(ClientError) as caught,
        ):
            ask(client)
        assert caught.value.code is Code.NOT_FOUND
