"""A worker process: loads and warms a version, and runs calls until the front process ends.

The first socket is for control and the others are for runs. Each socket has a thread, so there are
as many concurrent runs as sockets, and no hand-over between threads.

::

    control   {"op": "load", ...WorkerTask}  ->  {"load_seconds", ...} + signatures
              {"op": "memory"}               ->  {"resident_bytes"}
    run       {"signature", "outputs"} + inputs  ->  {} + outputs
    any       ->  {"error": [code, message]}
"""

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from serving.protocol.errors import Code, ServingError
from serving.server.worker import load_priority, precision, warmup, wire
from serving.server.worker.loaded_model import LoadedModel
from serving.server.worker.worker_task import WarmupRequest, WorkerTask

_PAGE = os.sysconf("SC_PAGE_SIZE")
Answer = tuple[dict[str, Any], dict[str, np.ndarray]]


def main(connections: list[socket.socket]) -> None:
    """Serve the connections until the front process closes them or ends."""
    control, *runs = connections
    worker = _Worker()
    # The front process may end long before a slow run does.
    threading.Thread(target=_exit_when_closed, args=(control,), daemon=True).start()
    for connection in runs:
        threading.Thread(target=_answer, args=(connection, worker.run), daemon=True).start()
    _answer(control, worker.control)


class _Worker:
    """The model, and the handlers of control and run requests."""

    def __init__(self) -> None:
        self._model: LoadedModel
        self._run_as: dict[str, str] = {}

    def control(self, header: dict[str, Any], _: dict[str, np.ndarray]) -> Answer:
        operation = header.pop("op")
        if operation == "load":
            return self._load(WorkerTask(**header))
        if operation == "memory":
            return {"resident_bytes": resident_bytes()}, {}
        raise ServingError(Code.UNIMPLEMENTED, f"unknown operation: {operation}")

    def run(self, header: dict[str, Any], inputs: dict[str, np.ndarray]) -> Answer:
        signature = header["signature"]
        signature = self._run_as.get(signature, signature)
        return {}, self._model.run(signature, inputs, header["outputs"])

    def _load(self, task: WorkerTask) -> Answer:
        started = time.monotonic()
        model = self._model = LoadedModel(
            task.intra_op_threads, task.inter_op_threads, task.own_export, task.allow_unsafe_ops
        )
        with load_priority.lowered():
            model.load(task.directory)
            precision.freeze_weights(model.signatures, os.environ)
            loaded = time.monotonic()
            requests = warmup.requests_of(task.directory, model.signatures) if task.warm_up else []
            choice = _choose_precision(task, model, requests)
            self._run_as = choice.run_as
            for request in precision.requests_to_warm(requests, self._run_as):
                model.run(request.signature, request.inputs, request.outputs)
        report = {
            "load_seconds": loaded - started,
            "warmup_seconds": time.monotonic() - loaded,
            "resident_bytes": resident_bytes(),
            "run_as": self._run_as,
            "measured": choice.measured,
            "fingerprint": model.fingerprint,
        }
        signatures = {
            key: np.array(signature.SerializeToString(), object)
            for key, signature in model.signatures.items()
        }
        return report, signatures


def _choose_precision(
    task: WorkerTask, model: LoadedModel, requests: Sequence[WarmupRequest]
) -> precision.Choice:
    known = task.known_precisions.get(model.fingerprint)
    if known is not None and task.precision == "auto":
        return precision.Choice(dict(known))
    return precision.choose(task.precision, model.signatures, requests, model.run)


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes, including shared pages."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * _PAGE


def _answer(
    connection: socket.socket,
    answer: Callable[[dict[str, Any], dict[str, np.ndarray]], Answer],
) -> None:
    """Respond to every frame of a connection until it is closed."""
    while True:
        try:
            header, tensors = wire.receive(connection)
        except (EOFError, OSError):
            return
        try:
            reply, outputs = answer(header, tensors)
        except ServingError as error:
            reply, outputs = {"error": [int(error.code), error.message]}, {}
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            reply, outputs = {"error": [int(Code.INTERNAL), message]}, {}
        wire.send(connection, reply, outputs)


def _exit_when_closed(connection: socket.socket) -> None:
    """End the process as soon as the front process closes its end, even during a run."""
    poll = select.poll()
    poll.register(connection, getattr(select, "POLLRDHUP", 0))  # POLLHUP is implied
    poll.poll()
    os._exit(0)
