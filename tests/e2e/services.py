"""Long-running ``bert`` commands of a workplace: started, watched, killed and started again."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import psutil

from tests.e2e.conftest import REPOSITORY, Workplace

#: A process on a busy machine may take this long to import TensorFlow and load a model.
READY_SECONDS = 240


@dataclasses.dataclass
class Service:
    """One command.

    Attributes:
        name: of its log file.
        command: the words after ``bert``.
        workplace: where it runs, and with which settings.
        ready_url: answers 200 once the service is ready; "" where nothing tells.
    """

    name: str
    command: Sequence[str]
    workplace: Workplace
    ready_url: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.workplace.folder / f"{self.name}.log"

    def start(self) -> "Service":
        options = [f"--set={key}={value}" for key, value in self.workplace.settings.items()]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", *self.command, *options],
                cwd=self.workplace.folder,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def wait_until_ready(self) -> None:
        wait_for(self._is_ready, f"{self.name} to be ready", lambda: self.tail())

    def kill(self) -> None:
        """``kill -9``."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def tail(self) -> str:
        return self.log.read_text("utf-8", "replace")[-4000:] if self.log.exists() else ""

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} ended:\n{self.tail()}"
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(self.ready_url, timeout=5).status_code == 200
        return False


def wait_for(
    condition: Callable[[], object],
    what: str,
    explain: Callable[[], str] = str,
    seconds: float = READY_SECONDS,
) -> None:
    """Look until it holds.

    Raises:
        AssertionError: it did not within ``seconds``; the message tells ``what`` and ``explain()``.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}:\n{explain()}")
        time.sleep(0.2)


def runs_under_way(workplace: Workplace) -> list[int]:
    """Process ids of the ``bert run`` commands of this workplace, without their workers."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        here = process.info["cwd"] == str(workplace.folder)
        if here and "cli.main" in words and "run" in words[:5]:
            found.append(process.info["pid"])
    return found
