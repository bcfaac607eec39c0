"""Queue of calls for a model version, and the choice of those that run next.

Batching is greedy: a free thread takes what is queued and does not wait for more. Under load the
queue fills during a run, so batches grow by themselves. When a call is larger than a batch, its
remaining rows go to the back of the queue, so that small calls do not wait for all of it.
"""

import collections
import math
import threading
import time

from serving.protocol.errors import Code, ServingError
from serving.server.batches.batching import BatchLimits, Call, Piece

#: Retry-After in seconds while the queue's pace is unknown, and its maximum.
_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0


class CallQueue:
    """A first in, first out queue with a limited number of examples. Thread-safe.

    Args:
        limits: limits of a batch and the queue.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._calls: collections.deque[Call] = collections.deque()
        self._examples = 0
        self._changed = threading.Condition()
        self._closed: ServingError | None = None
        self._pace = _Pace()

    @property
    def examples(self) -> int:
        """Number of examples in the queue."""
        return self._examples

    def put(self, call: Call) -> None:
        """Queue a call.

        Raises:
            ServingError: ``UNAVAILABLE``: the queue is full or closed. An empty queue accepts a
                call of any size.
        """
        with self._changed:
            if self._closed is not None:
                raise self._closed
            if self._calls and self._exceeds(call):
                self._forget_cancelled()
            if self._calls and self._exceeds(call):
                raise ServingError(
                    Code.UNAVAILABLE,
                    f"The queue is full: {self._examples} examples are waiting, at most "
                    f"{self._limits.max_queued_examples} may; try again later",
                    retry_after_seconds=self._pace.seconds_for(self._examples),
                )
            self._append(call)

    def take(self) -> list[Piece]:
        """Wait for calls, and take a batch: pieces of one group.

        Returns:
            At least one piece; empty if the queue is closed.
        """
        with self._changed:
            while True:
                while not self._calls and self._closed is None:
                    self._changed.wait()
                self._wait_for_more()
                if batch := self._take_batch():
                    return batch
                if self._closed is not None and not self._calls:
                    return []

    def ran(self, rows: int) -> None:
        """Record that a number of rows were answered, from which Retry-After is estimated."""
        self._pace.add(rows)

    def fail_all(self, error: ServingError) -> None:
        """Fail all waiting calls with an error."""
        with self._changed:
            calls = list(self._calls)
            self._calls.clear()
            self._examples = 0
        now = time.monotonic()
        for call in calls:
            if call.wanted(now):
                call.fail(error)

    def close(self, error: ServingError) -> None:
        """Refuse new calls, and fail all waiting calls with an error."""
        with self._changed:
            self._closed = error
            self._changed.notify_all()
        self.fail_all(error)

    def _exceeds(self, call: Call) -> bool:
        return self._examples + call.request.examples > self._limits.max_queued_examples

    def _append(self, call: Call) -> None:
        self._calls.append(call)
        self._examples += _examples_left(call)
        self._changed.notify()

    def _pop(self) -> Call:
        call = self._calls.popleft()
        self._examples -= _examples_left(call)
        return call

    def _forget_cancelled(self) -> None:
        """Drop cancelled calls, which would otherwise be dropped when they are taken."""
        kept = [call for call in self._calls if not call.future.cancelled()]
        self._calls = collections.deque(kept)
        self._examples = sum(map(_examples_left, kept))

    def _wait_for_more(self) -> None:
        """Wait until the batch is full or the configured timeout of the first call has passed."""
        if not self._limits.timeout_seconds or not self._calls:
            return
        until = self._calls[0].queued + self._limits.timeout_seconds
        while (
            self._calls
            and self._closed is None
            and sum(call.rows for call in self._calls) < self._limits.max_batch_size
            and (left := until - time.monotonic()) > 0
        ):
            self._changed.wait(left)

    def _take_batch(self) -> list[Piece]:
        now = time.monotonic()
        batch: list[Piece] = []
        passed: list[Call] = []
        size, tokens = self._limits.max_batch_size, self._limits.max_batch_tokens
        while self._calls and (size > 0 or not batch):
            call = self._calls[0]
            if batch and not self._fits(call, batch[0].call, size, tokens):
                passed.append(self._calls.popleft())
                continue
            self._pop()
            if not call.wanted(now):
                continue
            piece = self._piece(call) if not batch else Piece(call, call.next_row, call.rows)
            batch.append(piece)
            size -= piece.rows
            tokens -= call.tokens(piece.start, piece.stop)
            if call.group is None:
                break
        self._calls.extendleft(reversed(passed))
        if batch and batch[0].stop < batch[0].call.rows:
            rest = batch[0].call
            rest.next_row = batch[0].stop
            self._append(rest)
        elif self._calls:
            self._changed.notify()
        return batch

    def _fits(self, call: Call, first: Call, size: int, tokens: int) -> bool:
        return (
            call.group == first.group
            and call.rows - call.next_row <= size
            and call.tokens(call.next_row, call.rows) <= tokens
        )

    def _piece(self, call: Call) -> Piece:
        """Return the remaining rows of the call, or as many as fit in a batch."""
        stop = call.rows
        if self._limits.split_large and call.group is not None:
            limits = self._limits
            stop = call.next_row + call.rows_within(limits.max_batch_size, limits.max_batch_tokens)
        return Piece(call, call.next_row, stop)


def _examples_left(call: Call) -> int:
    if not call.next_row:
        return call.request.examples
    return call.rows - call.next_row


class _Pace:
    """Moving average of rows per second, for Retry-After."""

    def __init__(self) -> None:
        self._last = 0.0
        self._rate = 0.0

    def add(self, rows: int) -> None:
        now = time.monotonic()
        if self._last:
            rate = rows / max(now - self._last, 1e-6)
            self._rate = 0.9 * self._rate + 0.1 * rate if self._rate else rate
        self._last = now

    def seconds_for(self, examples: int) -> float:
        if not self._rate:
            return _FIRST_RETRY_SECONDS
        return min(max(float(math.ceil(examples / self._rate)), 1.0), _LONGEST_RETRY_SECONDS)
