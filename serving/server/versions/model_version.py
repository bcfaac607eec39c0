"""A loaded model version: a queue, and a worker process that runs its calls."""

import concurrent.futures
import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from modules.contract.pushed_model import read_model_card
from serving.protocol.errors import Code, ServingError
from serving.protocol.servable import RunRequest
from serving.server.batches.batch_runner import BatchRunner
from serving.server.batches.batching import BatchLimits, Grouping, Piece
from serving.server.batches.call_queue import CallQueue
from serving.server.observer import Observer
from serving.server.worker.worker_process import LoadReport, Worker, WorkerDiedError

logger = logging.getLogger(__name__)

#: Pause before a dead worker is replaced: the first, doubled after each failure, up to the last.
FIRST_RESTART_SECONDS = 0.1
LAST_RESTART_SECONDS = 30.0

#: Function that returns a worker which has loaded and warmed the version.
StartWorker = Callable[[], tuple[Worker, LoadReport]]


class ModelVersion:
    """A ``Servable``. It has one thread for each slot of the worker, until ``close``.

    Args:
        name: name of the model.
        version: version number.
        start_worker: called at once, and whenever the worker has died.
        limits: limits of batches and the queue.
        observer: observer of batches.

    Raises:
        ServingError: the version cannot be loaded, or its warm-up fails.
    """

    def __init__(
        self,
        name: str,
        version: int,
        start_worker: StartWorker,
        limits: BatchLimits,
        observer: Observer,
    ) -> None:
        self.name = name
        self.version = version
        self._start_worker = start_worker
        self._worker, self.report = start_worker()
        self.signatures: Mapping[str, Any] = self.report.signatures
        self._observer = observer
        self._grouping = Grouping(self.signatures, limits)
        self._runner = BatchRunner(self._grouping, limits)
        self._queue = CallQueue(limits)
        self._closed = threading.Event()
        self._restarting = threading.Lock()
        self._restarts_failed = 0
        self._dead: Worker | None = None
        #: Batches that wait for a new worker, by slot.
        self._held: dict[int, Sequence[Piece]] = {}
        self._threads = [
            threading.Thread(
                target=self._work, args=(slot,), name=f"{name}/{version}/{slot}", daemon=True
            )
            for slot in range(self._worker.slots)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def healthy(self) -> bool:
        """Whether the worker is alive, as far as is known."""
        return self._restarts_failed == 0 and not self._restarting.locked()

    @property
    def worker_pid(self) -> int:
        """Process ID of the worker."""
        return self._worker.pid

    def submit(self, request: RunRequest) -> "concurrent.futures.Future[dict[str, np.ndarray]]":
        """Queue a call. See ``Servable``."""
        call = self._grouping.call(request)
        try:
            self._queue.put(call)
        except ServingError as error:
            call.fail(error)
        return call.future

    def resident_bytes(self) -> int:
        """Return the worker's resident memory in bytes."""
        return self._worker.resident_bytes()

    def close(self) -> None:
        """Stop the worker; waiting and running calls fail with ``UNAVAILABLE``."""
        self._closed.set()
        gone = f"version {self.version} of model {self.name} is unloaded"
        self._queue.close(ServingError(Code.UNAVAILABLE, gone))
        self._worker.kill()
        for thread in self._threads:
            thread.join()

    def _work(self, slot: int) -> None:
        """Run batches in the thread of a slot until the queue is closed."""
        while batch := self._queue.take():
            worker = self._living_worker(slot, batch)
            if all(piece.call.future.done() for piece in batch):
                continue  # _refuse has answered it
            started = time.monotonic()
            try:
                self._runner.answer(batch, functools.partial(worker.run, slot))
            except WorkerDiedError as error:
                self._dead = worker  # before its callers learn of it and retry
                _fail(batch, error)
                self._replace(worker)
            except Exception as error:
                logger.exception("a batch of %s/%d failed", self.name, self.version)
                _fail(batch, ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}"))
            else:
                self._report(batch, started)

    def _living_worker(self, slot: int, batch: Sequence[Piece]) -> Worker:
        """Return the worker; if it is known to be dead, wait for its successor."""
        worker = self._worker
        if worker is self._dead:
            self._held[slot] = batch
            self._replace(worker)
            del self._held[slot]
        return self._worker

    def _report(self, batch: Sequence[Piece], started: float) -> None:
        rows = sum(piece.rows for piece in batch)
        self._queue.ran(rows)
        self._observer.batch_ran(
            self.name,
            self.version,
            batch[0].call.request.signature,
            rows,
            [started - piece.call.queued for piece in batch if not piece.start],
            time.monotonic() - started,
        )

    def _replace(self, dead: Worker) -> None:
        """Start another worker, however long that takes; waiting calls stay in the queue."""
        with self._restarting:
            if self._worker is not dead or self._closed.is_set():
                return  # another slot's thread did it
            logger.error("the worker of %s/%d died; starting another", self.name, self.version)
            dead.kill()
            wait = FIRST_RESTART_SECONDS
            while not self._closed.wait(wait):
                try:
                    self._worker, _ = self._start_worker()
                except ServingError as error:
                    self._restarts_failed += 1
                    wait = min(2 * wait, LAST_RESTART_SECONDS)
                    logger.error(
                        "cannot load %s/%d again: %s; retrying in %.1f s",
                        self.name,
                        self.version,
                        error.message,
                        wait,
                    )
                    self._refuse(
                        ServingError(Code.UNAVAILABLE, error.message, retry_after_seconds=wait)
                    )
                else:
                    self._restarts_failed = 0
                    break
        if self._closed.is_set():
            self._worker.kill()

    def _refuse(self, error: ServingError) -> None:
        """Fail all calls that wait for a worker."""
        self._queue.fail_all(error)
        for batch in list(self._held.values()):
            _fail(batch, error)


def _fail(batch: Sequence[Piece], error: ServingError) -> None:
    for piece in batch:
        piece.call.fail(error)


def max_tokens_of_text(directory: str) -> int | None:
    """Return ``max_length`` in the model card of an export of this project; None without a card."""
    try:
        text = read_model_card(directory).get("text")
    except (OSError, ValueError):
        return None
    length = text.get("max_length") if isinstance(text, dict) else None
    return length if isinstance(length, int) and length > 0 else None
