"""Long-running ``bert`` commands of a workplace that tests start, kill and restart."""

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

#: Longest time that a process on a busy machine takes to import TensorFlow and load a model.
READY_SECONDS = 240


@dataclasses.dataclass
class Service:
    """One command.

    Attributes:
        name: name of the service and its log file.
        command: the words after ``bert``.
        workplace: folder and settings of the command.
        ready_url: URL that answers 200 once the service is ready; "" if there is none.
        process: the newest process, or None before the first start.
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
        """Kill the process with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End the process with SIGTERM, and return its exit code."""
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
    """Poll a condition until it holds.

    Args:
        condition: returns a true value once it holds.
        what: description of the condition, for the error.
        explain: returns details for the error.
        seconds: longest time to wait.

    Raises:
        AssertionError: the condition did not hold within ``seconds``.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}:\n{explain()}")
        time.sleep(0.2)


def active_runs(workplace: Workplace) -> list[int]:
    """Return the process ids of this workplace's ``bert run`` commands, without their workers."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        here = process.info["cwd"] == str(workplace.folder)
        if here and "cli.main" in words and "run" in words[:5]:
            found.append(process.info["pid"])
    return found
