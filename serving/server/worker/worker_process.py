"""Control of worker processes by the front process: the zygote, forks, calls, and termination."""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.protocol import protos
from serving.protocol.errors import Code, ServingError
from serving.server.worker import wire, zygote
from serving.server.worker.worker_task import WorkerTask

_ROOT = Path(__file__).resolve().parents[3]
_LONGEST_MESSAGE = 4096


class WorkerDiedError(ServingError):
    """The worker process ended before it responded."""

    def __init__(self, what: str) -> None:
        super().__init__(Code.UNAVAILABLE, f"The worker process ended {what}")


class Zygote:
    """The process that forks workers, started when needed and restarted if it dies. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._stopped = False

    def prepare(self) -> None:
        """Start the process in the background; ``start_worker`` reports a failure."""
        threading.Thread(target=self._prepare, name="prepare", daemon=True).start()

    def _prepare(self) -> None:
        with self._lock, contextlib.suppress(ServingError):
            self._running()

    def start_worker(self, runs: int) -> "Worker":
        """Fork a worker.

        Args:
            runs: number of concurrent runs.

        Raises:
            ServingError: ``UNAVAILABLE``: the zygote cannot be started.
        """
        pairs = [socket.socketpair() for _ in range(1 + runs)]
        front_ends, worker_ends = zip(*pairs, strict=True)
        try:
            with self._lock:
                pid = self._fork([end.fileno() for end in worker_ends])
        except BaseException:
            for end in front_ends:
                end.close()
            raise
        finally:
            for end in worker_ends:
                end.close()
        return Worker(pid, front_ends[0], front_ends[1:])

    def stop(self) -> None:
        """Stop the process; the workers that it forked continue."""
        self._stopped = True
        if (process := self._process) is not None:
            process.kill()  # else the lock is held until it has imported TensorFlow
        with self._lock:
            self._end()

    @property
    def pid(self) -> int | None:
        """Process ID; None if it is not running."""
        return self._process.pid if self._process else None

    def _fork(self, descriptors: list[int]) -> int:
        for _ in range(2):  # the second attempt uses a new zygote
            control = self._running()
            try:
                socket.send_fds(control, [b"f"], descriptors)
                return int(_read_message(control)["pid"])
            except (OSError, EOFError):
                self._end()
        raise ServingError(Code.UNAVAILABLE, "the process that starts workers keeps ending")

    def _running(self) -> socket.socket:
        if self._stopped:
            raise ServingError(Code.UNAVAILABLE, "the server is stopping")
        if self._control is not None:
            return self._control
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", zygote.__name__]
            self._process = _start_from_lasting_thread(
                [*command, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                env=_environment(),
                stdin=subprocess.DEVNULL,
            )
        self._control = ours
        try:
            _read_message(ours)
        except (OSError, EOFError):
            self._end()
            raise ServingError(
                Code.UNAVAILABLE, "the process that starts workers could not import TensorFlow"
            ) from None
        return ours

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Worker:
    """A worker process. ``run`` may be called concurrently for different slots.

    Args:
        pid: process ID.
        control: socket for loading.
        runs: sockets for runs, one per slot.
    """

    def __init__(self, pid: int, control: socket.socket, runs: Sequence[socket.socket]) -> None:
        self.pid = pid
        self._control = control
        self._runs = list(runs)
        self._control_lock = threading.Lock()
        self._run_locks = [threading.Lock() for _ in runs]

    @property
    def slots(self) -> int:
        """Number of concurrent runs."""
        return len(self._runs)

    def load(self, task: WorkerTask) -> "LoadReport":
        """Load and warm a version, without a time limit.

        Args:
            task: version to load.

        Raises:
            WorkerDiedError: the worker died.
            ServingError: the model cannot be loaded, or its warm-up fails.
        """
        with self._control_lock:
            header, signatures = _ask(
                self._control, {"op": "load", **dataclasses.asdict(task)}, {}, "while loading"
            )
        parse = protos.meta_graph_pb2.SignatureDef.FromString
        return LoadReport(
            signatures={key: parse(value.item()) for key, value in signatures.items()}, **header
        )

    def run(
        self, slot: int, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Run a signature in a slot; a slot runs one call at a time.

        Raises:
            WorkerDiedError: the worker died.
            ServingError: the graph failed.
        """
        header = {"signature": signature, "outputs": list(outputs)}
        with self._run_locks[slot]:
            return _ask(self._runs[slot], header, inputs, "while it ran the request")[1]

    def resident_bytes(self) -> int:
        """Return the worker's resident memory in bytes, including shared pages."""
        with self._control_lock:
            return int(_ask(self._control, {"op": "memory"}, {}, "")[0]["resident_bytes"])

    def kill(self) -> None:
        """Kill the worker and end all waits for it. May be called repeatedly, from any thread."""
        connections = (self._control, *self._runs)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        # Close only when no thread waits on it: the file descriptor may be reused.
        for connection, lock in zip(
            connections, (self._control_lock, *self._run_locks), strict=True
        ):
            with lock:
                connection.close()


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """A worker's report on the version that it loaded.

    Attributes:
        signatures: ``SignatureDef`` protos by key.
        load_seconds: duration of reading and initialising the model.
        warmup_seconds: duration of the warm-up, including the measurement of precisions.
        resident_bytes: resident memory afterwards.
        run_as: signature to run by requested signature, for a model with two precisions.
        measured: see ``serving.server.worker.precision.Choice``.
        fingerprint: see ``serving.server.worker.loaded_model.LoadedModel``.
    """

    signatures: Mapping[str, Any]
    load_seconds: float
    warmup_seconds: float
    resident_bytes: int
    run_as: Mapping[str, str]
    measured: bool
    fingerprint: str


def _ask(
    connection: socket.socket,
    header: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    when: str,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        wire.send(connection, header, tensors)
        reply, outputs = wire.receive(connection)
    except (OSError, EOFError):
        raise WorkerDiedError(when) from None
    if "error" in reply:
        code, message = reply["error"]
        raise ServingError(Code(code), message)
    return reply, outputs


def _read_message(control: socket.socket) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        part = control.recv(_LONGEST_MESSAGE)
        if not part:
            raise EOFError("the zygote ended")
        data += part
    message: dict[str, Any] = json.loads(data)
    return message


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    paths = [str(_ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    # NumPy's OpenBLAS starts threads when it is imported, and a process with threads cannot be
    # forked safely. Workers do not multiply matrices in NumPy.
    environment["OPENBLAS_NUM_THREADS"] = "1"
    # TensorFlow logs harmless messages while it loads (no GPU); it returns errors as statuses.
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return environment


def _start_from_lasting_thread(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process from a thread that waits for it.

    The kernel's "kill me when my parent dies" refers to the thread that forked.
    """
    started: concurrent.futures.Future[subprocess.Popen[bytes]] = concurrent.futures.Future()

    def run() -> None:
        try:
            process = subprocess.Popen(command, **options)
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(process)
        process.wait()

    threading.Thread(target=run, name="zygote", daemon=True).start()
    return started.result()
