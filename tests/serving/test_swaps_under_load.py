"""Clients keep asking while versions are swapped and workers killed: what fails, what grows."""

import contextlib
import os
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from serving.errors import Code, ServingError
from serving.manager import ModelManager
from serving.servable import RunRequest, State
from serving.settings import ServerSettings
from tests.serving import half_plus_two

pytestmark = pytest.mark.slow

PATIENCE = 60
CLIENTS = 8


class Clients:
    """Threads that ask a model for x / 2 + its version, until they are told to stop."""

    def __init__(self, manager: ModelManager, model: str, count: int = CLIENTS):
        self._manager = manager
        self._model = model
        self._stop = threading.Event()
        self.answers = 0
        self.versions: set[int] = set()
        self.errors: list[ServingError] = []
        self.threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _ask(self) -> None:
        request = RunRequest("serving_default", {"x": np.array([[2.0]], np.float32)})
        while not self._stop.is_set():
            try:
                with self._manager.acquire(self._model) as servable:
                    answer = servable.submit(request).result(PATIENCE)
            except ServingError as error:
                self.errors.append(error)
            else:
                assert answer["y"].tolist() == [[1.0 + servable.version]]
                self.answers += 1
                self.versions.add(servable.version)

    def ask_more(self, count: int) -> None:
        """Wait until so many more calls were answered."""
        goal = self.answers + count
        while self.answers < goal and any(thread.is_alive() for thread in self.threads):
            self._stop.wait(0.005)
        assert self.answers >= goal

    def stop(self) -> None:
        self._stop.set()
        for thread in self.threads:
            thread.join(PATIENCE)


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:

        def serve(**settings) -> ModelManager:
            manager = ModelManager(ServerSettings(file_system_poll_wait_seconds=0.02, **settings))
            manager.start()
            stack.callback(manager.stop)
            assert manager.wait_until_ready(PATIENCE)
            return manager

        yield serve


def push(base: Path, version: int) -> None:
    """As a pusher does it: written beside, then renamed."""
    half_plus_two.write(base / f"{version}.part", increment=float(version))
    os.rename(base / f"{version}.part", base / str(version))


def wait_for(manager: ModelManager, version: int, state: State, model: str = "default") -> None:
    changed = manager._changed
    with changed:
        assert changed.wait_for(
            lambda: (
                getattr(manager._lifecycle.versions(model).get(version), "state", None) == state
            ),
            PATIENCE,
        )


def workers_memory() -> int:
    """Bytes that the workers use beyond what they share with the zygote."""
    zygotes = psutil.Process().children()
    return sum(worker.memory_full_info().uss for zygote in zygotes for worker in zygote.children())


def test_swaps_fail_no_call_and_keep_no_memory(serve, tmp_path) -> None:
    push(tmp_path, 1)
    manager = serve(model_base_path=str(tmp_path))
    clients = Clients(manager, "default")
    memory = {}
    for version in range(2, 22):
        push(tmp_path, version)
        wait_for(manager, version - 1, State.END)
        shutil.rmtree(tmp_path / str(version - 1))
        clients.ask_more(100)
        memory[version - 1] = psutil.Process().memory_info().rss + workers_memory()
    clients.stop()
    assert clients.errors == []
    assert clients.versions == set(range(1, 22))
    assert memory[20] <= 1.05 * memory[3]


def test_a_killed_worker_fails_only_what_it_ran(serve, tmp_path) -> None:
    for model in ("one", "two"):
        half_plus_two.write(tmp_path / model / "1", increment=1.0)
    config = tmp_path / "models.config"
    config.write_text(
        "model_config_list {"
        + "".join(
            f'config {{ name: "{name}" base_path: "{tmp_path / name}" '
            'model_platform: "tensorflow" }'
            for name in ("one", "two")
        )
        + "}"
    )
    manager = serve(model_config_file=str(config))
    killed, others = Clients(manager, "one"), Clients(manager, "two", 2)
    kills = 5
    for _ in range(kills):
        killed.ask_more(200)
        with manager.acquire("one") as servable:
            os.kill(servable.worker_pid, signal.SIGKILL)
    killed.ask_more(200)
    others.ask_more(200)
    killed.stop()
    others.stop()
    assert others.errors == []
    assert {error.code for error in killed.errors} <= {Code.UNAVAILABLE}
    # One batch runs at a time, of at most one call a client.
    assert len(killed.errors) <= kills * CLIENTS
    assert manager.ready()
