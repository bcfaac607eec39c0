"""Writes predictions to the database, many in one transaction, so that no request waits for a disk.

What was handed over is in a bounded queue until it is written. While the database is away it stays
there; beyond the bound, records are dropped and counted. A process that is killed loses what is in
the queue: the answers were given, but feedback can then not name them.
"""

import logging
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

#: Records in memory at most; a text of the usual length takes about 2 kB.
MAX_WAITING = 20_000
#: Records in one transaction.
_BATCH = 500
#: Pause after a failed transaction, doubled each time.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0


class Recorder:
    """A thread that writes.

    Args:
        store: where to.
        metrics: count what was written and dropped.
        max_waiting: records in memory.
    """

    def __init__(
        self, store: FeedbackStore, metrics: GatewayMetrics, max_waiting: int = MAX_WAITING
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._waiting: deque[Record] = deque()
        self._accepted = self._finished = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def record(self, records: Sequence[Record]) -> bool:
        """Hand records over; never waits.

        Returns:
            Whether they will be written soon: False when they were dropped, or when the database
            is away and they may yet be lost.
        """
        with self._changed:
            if self._stopping or len(self._waiting) + len(records) > self._max_waiting:
                self._metrics.records.labels("dropped").inc(len(records))
                return False
            self._waiting.extend(records)
            self._accepted += len(records)
            self._metrics.records_waiting.set(len(self._waiting))
            self._changed.notify_all()
            return not self._failing

    def flush(self, seconds: float) -> bool:
        """Wait until all that was handed over before is written, or dropped.

        Returns:
            False when the time ran out, or the database is away.
        """
        with self._changed:
            target = self._accepted
            self._changed.wait_for(lambda: self._finished >= target or self._failing, seconds)
            return self._finished >= target

    def stop(self, seconds: float) -> None:
        """Write what is waiting, as far as the time allows, and end the thread."""
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
                self._tell_failing(error)
                with self._changed:
                    if self._stopping:
                        return  # the database is away, and nobody will wait for it
                    self._changed.wait_for(lambda: self._stopping, pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                pause = _FIRST_PAUSE_SECONDS
                self._finish(len(batch))

    def _next(self) -> list[Record]:
        """The oldest records, which stay in the queue until they are written; none ends it all."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._stopping)
            return [self._waiting[i] for i in range(min(_BATCH, len(self._waiting)))]

    def _write(self, batch: Sequence[Record]) -> None:
        try:
            self._send(batch)
        except (IntegrityError, DataError):
            # One that the database refuses must not hold up the others for ever.
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
            _log.warning("a record was refused: %s", type(error.orig).__name__)

    def _send(self, records: Sequence[Record]) -> None:
        self._store.record_predictions(
            [record for record in records if isinstance(record, PredictionRow)],
            [record for record in records if isinstance(record, ShadowPredictionRow)],
        )

    def _tell_failing(self, error: SQLAlchemyError) -> None:
        with self._changed:
            if not self._failing:
                _log.warning("predictions cannot be stored: %s", cause_of(error))
            self._failing = True
            self._changed.notify_all()

    def _finish(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                self._waiting.popleft()
            self._finished += count
            self._failing = False
            self._metrics.records_waiting.set(len(self._waiting))
            self._changed.notify_all()
