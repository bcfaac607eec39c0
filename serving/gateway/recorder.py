"""Writes predictions to the database in batches, so that no request waits for a disk.

Records stay in a bounded queue until they are written, also while the database is unavailable;
beyond the bounds, they are dropped and counted. A killed process loses its queue: callers have
these predictions, but feedback cannot refer to them.
"""

import itertools
import logging
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from serving.feedback.store import FeedbackStore
from serving.gateway.metrics import GatewayMetrics
from serving.records.database import cause_of
from serving.records.tables import PredictionRow, ShadowPredictionRow

Record: TypeAlias = PredictionRow | ShadowPredictionRow

_log = logging.getLogger(__name__)

#: Maximum records in memory; one with a text of usual length takes about 2 kB.
MAX_WAITING = 20_000
#: Maximum memory of waiting records. A text may have megabytes, so a number is no bound.
MAX_WAITING_BYTES = 256 * 2**20
#: Maximum records, and about the maximum memory of records, in one transaction.
_BATCH, _BATCH_BYTES = 500, 16 * 2**20
#: About the memory of a record without its text and scores, and of one score.
_RECORD_BYTES, _SCORE_BYTES = 2048, 128
#: Pause after a failed transaction, doubled each time.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0


class Recorder:
    """A background thread that writes records.

    Args:
        store: stores the records.
        metrics: counts written and dropped records.
        max_waiting: maximum records in memory.
        max_bytes: their maximum memory.
    """

    def __init__(
        self,
        store: FeedbackStore,
        metrics: GatewayMetrics,
        max_waiting: int = MAX_WAITING,
        max_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[Record, int]] = deque()  # with their memory
        self._bytes = 0
        self._accepted = self._finished = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def record(self, records: Sequence[Record]) -> bool:
        """Queue records for writing; never wait.

        Returns:
            Whether they will be written soon: False when they were dropped, or when the database
            is unavailable and they may still be lost.
        """
        sizes = [_memory(record) for record in records]
        with self._changed:
            if (
                self._stopping
                or len(self._waiting) + len(records) > self._max_waiting
                or self._bytes + sum(sizes) > self._max_bytes
            ):
                self._metrics.records.labels("dropped").inc(len(records))
                return False
            self._waiting.extend(zip(records, sizes, strict=True))
            self._bytes += sum(sizes)
            self._accepted += len(records)
            self._metrics.records_waiting.set(len(self._waiting))
            self._changed.notify_all()
            return not self._failing

    def flush(self, seconds: float) -> bool:
        """Wait until all records queued so far are written or dropped.

        Returns:
            False when the time ran out, or the database is unavailable.
        """
        with self._changed:
            target = self._accepted
            self._changed.wait_for(lambda: self._finished >= target or self._failing, seconds)
            return self._finished >= target

    def stop(self, seconds: float) -> None:
        """Write queued records while the time allows, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(seconds)
        if self._waiting:
            _log.warning("%d predictions could not be stored", len(self._waiting))

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while batch := self._next():
            try:
                self._write(batch)
            except SQLAlchemyError as error:
                self._mark_failing(error)
                with self._changed:
                    if self._stopping:
                        return  # shutdown does not wait for an unavailable database
                    self._changed.wait_for(lambda: self._stopping, pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                pause = _FIRST_PAUSE_SECONDS
                self._finish(len(batch))

    def _next(self) -> list[Record]:
        """Return the oldest records, which stay queued until written; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._stopping)
            batch: list[Record] = []
            total = 0
            for record, size in itertools.islice(self._waiting, _BATCH):
                total += size
                if batch and total > _BATCH_BYTES:
                    break
                batch.append(record)
            return batch

    def _write(self, batch: Sequence[Record]) -> None:
        try:
            self._send(batch)
        except (IntegrityError, DataError):
            # A record that the database refuses must not block the others forever.
            for record in batch:
                self._write_one(record)
        else:
            self._metrics.records.labels("written").inc(len(batch))

    def _write_one(self, record: Record) -> None:
        try:
            self._send([record])
            self._metrics.records.labels("written").inc()
        except (IntegrityError, DataError) as error:
            self._metrics.records.labels("dropped").inc()
            _log.warning("the database refused a record: %s", type(error.orig).__name__)

    def _send(self, records: Sequence[Record]) -> None:
        self._store.record_predictions(
            [record for record in records if isinstance(record, PredictionRow)],
            [record for record in records if isinstance(record, ShadowPredictionRow)],
        )

    def _mark_failing(self, error: SQLAlchemyError) -> None:
        with self._changed:
            if not self._failing:
                _log.warning("predictions cannot be stored: %s", cause_of(error))
            self._failing = True
            self._changed.notify_all()

    def _finish(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                self._bytes -= self._waiting.popleft()[1]
            self._finished += count
            self._failing = False
            self._metrics.records_waiting.set(len(self._waiting))
            self._changed.notify_all()


def _memory(record: Record) -> int:
    """Return about how many bytes a record occupies."""
    if isinstance(record, ShadowPredictionRow):
        return _RECORD_BYTES
    text = 0 if record.text is None else sys.getsizeof(record.text)
    return _RECORD_BYTES + text + _SCORE_BYTES * len(record.scores or ())
