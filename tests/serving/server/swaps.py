"""Swap versions while clients call, and report failed calls and used memory.

    python -m tests.serving.server.swaps EMPTY_FOLDER SWAPS

It runs in a separate process, so that memory of other tests is not counted.
"""

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from serving.protocol.errors import ServingError
from serving.protocol.servable import RunRequest, State
from serving.server.settings import ServerSettings
from serving.server.versions.manager import ModelManager
from tests.serving import half_plus_two

PATIENCE = 60
CLIENTS = 8


class Clients:
    """Threads that request x / 2 + version from a model until ``stop``."""

    def __init__(self, manager: ModelManager, model: str, count: int = CLIENTS):
        self._manager = manager
        self._model = model
        self._stop = threading.Event()
        self.answers = 0
        self.versions: set[int] = set()
        self.errors: list[ServingError] = []
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]
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
        """Wait until ``count`` more calls were answered."""
        goal = self.answers + count
        while self.answers < goal and any(thread.is_alive() for thread in self.threads):
            self._stop.wait(0.005)
        assert self.answers >= goal

    def stop(self) -> None:
        self._stop.set()
        for thread in self.threads:
            thread.join(PATIENCE)


def push(base: Path, version: int) -> None:
    """Write a version as a pusher does: to a temporary folder, which is then renamed."""
    half_plus_two.write(base / f"{version}.part", increment=float(version))
    os.rename(base / f"{version}.part", base / str(version))


def wait_for(manager: ModelManager, version: int, state: State, model: str = "default") -> None:
    deadline = time.monotonic() + PATIENCE
    while state not in {s.state for s in manager.statuses(model) if s.version == version}:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def worker_memory() -> int:
    """Return the bytes that the only worker uses and does not share with the zygote."""
    while True:
        workers = [each for zygote in psutil.Process().children() for each in zygote.children()]
        if len(workers) == 1:  # the previous worker takes a moment to end
            return workers[0].memory_full_info().uss


def main(base: Path, swaps: int) -> None:
    """Print as JSON: errors, versions that answered, and bytes in use after each swap."""
    push(base, 1)
    settings = ServerSettings(model_base_path=str(base), file_system_poll_wait_seconds=0.02)
    manager = ModelManager(settings)
    manager.start()
    assert manager.wait_until_ready(PATIENCE)
    clients = Clients(manager, "default")
    memory = []
    for version in range(2, swaps + 2):
        push(base, version)
        wait_for(manager, version - 1, State.END)
        shutil.rmtree(base / str(version - 1))
        clients.ask_more(50)
        memory.append(psutil.Process().memory_info().rss + worker_memory())
    clients.stop()
    manager.stop()
    errors = [error.message for error in clients.errors]
    print(json.dumps({"errors": errors, "versions": sorted(clients.versions), "memory": memory}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
