"""The process of the embedded server, which can be started before there is a model.

Such a process spends more time importing TensorFlow than loading a model. If a model is expected,
call ``prepare`` to start the process early, so that it imports in the background.
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
    """A running server without a model yet; the caller must ``end`` it."""

    def __init__(self) -> None:
        """Start the process without waiting for it."""
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
        """Id of the process, which is also the id of its group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def serve(self, export: str, deadline: float) -> dict[str, str]:
        """Pass a model to the server and wait until it listens. Call this only once.

        Args:
            export: folder of the SavedModel.
            deadline: ``time.monotonic()`` by which the server must listen.

        Returns:
            The server's addresses, by protocol: "rest" and "grpc".

        Raises:
            ModelError: the process exited, or did not listen in time.
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
        """Return the peak resident memory of the server's largest process, in MiB.

        None if it is unknown.
        """
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
        """End the process and everything that it started, and remove its files."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_TERMINATION_SECONDS)
        kill_group(self._process)
        self._folder.cleanup()


_lock = threading.Lock()
_prepared: EmbeddedProcess | None = None


def prepare() -> None:
    """Start a process for the next model, unless one is waiting, without waiting for it.

    If it is never used, it ends with this process.
    """
    global _prepared
    with _lock:
        if _prepared is None:
            _prepared = EmbeddedProcess()
            atexit.register(_end_unused)


def take() -> EmbeddedProcess:
    """Return the prepared process if it is running, else a new one."""
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
