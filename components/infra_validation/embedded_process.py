"""The process of the embedded server: started when a model is there, or before.

Importing TensorFlow takes such a process longer than loading a model. Who knows that a model will
come calls ``prepare``, and the process imports beside what this one does meanwhile.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

from components.infra_validation.child_process import ending, environment, kill_group, tail
from modules.contract.errors import ModelError

MODEL_NAME = "candidate"
_EMBEDDED = "components.infra_validation.embedded_server"
_POLL_SECONDS = 0.05
_TERMINATION_SECONDS = 5.0


class EmbeddedProcess:
    """A server that runs and has no model yet; ``end`` it in any case."""

    def __init__(self) -> None:
        """Start the process; returns at once."""
        self._folder = tempfile.TemporaryDirectory(prefix="infra-validation-")
        self._base_path = os.path.join(self._folder.name, MODEL_NAME)
        self._endpoints_path = os.path.join(self._folder.name, "endpoints.json")
        self._log_path = os.path.join(self._folder.name, "server.log")
        os.makedirs(self._base_path)
        with open(self._log_path, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _EMBEDDED, self._base_path, self._endpoints_path],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process; its group has the same number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def serve(self, export: str, deadline: float) -> dict[str, str]:
        """Give it a model, once, and wait until it listens.

        Args:
            export: folder of the SavedModel.
            deadline: ``time.monotonic()`` by which the server must listen.

        Returns:
            Its addresses, "rest" and "grpc".

        Raises:
            ModelError: it ended, or does not listen in time.
        """
        os.symlink(os.path.abspath(export), os.path.join(self._base_path, "1"))
        while not os.path.exists(self._endpoints_path):
            if not self.alive:
                how = ending(self._process.returncode)
                raise ModelError(f"the model server {how}: {tail(self._log_path)}")
            if time.monotonic() > deadline:
                raise ModelError("the model server did not listen in time")
            time.sleep(_POLL_SECONDS)
        with open(self._endpoints_path, encoding="utf-8") as file:
            addresses: dict[str, str] = json.load(file)
        return addresses

    def peak_memory_mb(self) -> float | None:
        """Greatest resident memory of the process that holds the model, in MiB: the largest."""
        import psutil

        try:
            server = psutil.Process(self.pid)
            pids = [server.pid, *(child.pid for child in server.children(recursive=True))]
        except psutil.NoSuchProcess:
            return None
        peaks = [0]
        for each in pids:
            with contextlib.suppress(OSError, StopIteration):
                with open(f"/proc/{each}/status", encoding="ascii") as file:
                    line = next(line for line in file if line.startswith("VmHWM:"))
                peaks.append(int(line.split()[1]))
        return max(peaks) / 1024 or None

    def end(self) -> None:
        """End the process and all that it started, and remove its files."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_TERMINATION_SECONDS)
        kill_group(self._process)
        self._folder.cleanup()


_lock = threading.Lock()
_prepared: EmbeddedProcess | None = None


def prepare() -> None:
    """Start a process for the next model, if none waits for it; returns at once.

    Where no model comes, it ends with this process.
    """
    global _prepared
    with _lock:
        if _prepared is None:
            _prepared = EmbeddedProcess()
            atexit.register(_end_unused)


def take() -> EmbeddedProcess:
    """The prepared process, where one runs; else a new one."""
    process = _take_prepared()
    if process is not None and process.alive:
        return process
    if process is not None:
        process.end()
    return EmbeddedProcess()


def _take_prepared() -> EmbeddedProcess | None:
    global _prepared
    with _lock:
        process, _prepared = _prepared, None
    return process


def _end_unused() -> None:
    if (process := _take_prepared()) is not None:
        process.end()
