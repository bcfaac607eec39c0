"""Puts requests that wait together into one run. No threads and no I/O in here.

Greedy: whoever is free takes what is queued, and nobody waits for more to come; under load the
queue fills while a run goes on, so batches grow by themselves. A batch holds one group: requests
of the same signature, outputs, dtypes and trailing dimensions.
"""

import collections
import concurrent.futures
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.errors import Code, ServingError
from serving.servable import RunRequest

Future = concurrent.futures.Future
#: A token of English is some four bytes; [CLS] and [SEP] come on top.
_BYTES_PER_TOKEN = 4
_SPECIAL_TOKENS = 2
#: Retry-After before the queue's pace is known, in seconds.
_FIRST_RETRY_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class BatchLimits:
    """What one batch and the queue may hold.

    Attributes:
        max_batch_size: examples in a merged batch.
        max_batch_tokens: estimated tokens in a merged batch.
        max_queued_examples: waiting in the queue.
        max_tokens_of_text: longer texts are cut there by the model; None is unknown.
        timeout_seconds: how long an incomplete batch waits for more; 0 is greedy.
        allowed_batch_sizes: batches are padded up to one of these; empty allows all.
        pad_variable_length: pad trailing dimensions that differ, as TensorFlow Serving's
            ``pad_variable_length_inputs`` does.
        enabled: False runs each request by itself.
    """

    max_batch_size: int = 64
    max_batch_tokens: int = 4096
    max_queued_examples: int = 4096
    max_tokens_of_text: int | None = None
    timeout_seconds: float = 0.0
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length: bool = False
    enabled: bool = True


@dataclasses.dataclass(slots=True, eq=False)
class Call:
    """A request in the queue.

    Attributes:
        request: what to run.
        future: of the outputs.
        group: calls of one group may be merged; None: this one runs alone.
        size: length of the batch dimension where it may be merged, else 1.
        tokens: estimate of the work.
        queued: ``time.monotonic()`` when it came.
    """

    request: RunRequest
    future: "Future[dict[str, np.ndarray]]"
    group: Hashable
    size: int
    tokens: int
    queued: float

    def fail(self, error: ServingError) -> None:
        """Give the error to whoever waits."""
        self.future.set_exception(error)

    def start(self, now: float) -> bool:
        """Whether it is still wanted; from here on it cannot be cancelled."""
        if not self.future.set_running_or_notify_cancel():
            return False
        if self.request.deadline is not None and self.request.deadline <= now:
            self.fail(
                ServingError(Code.DEADLINE_EXCEEDED, "the deadline passed while the call waited")
            )
            return False
        return True


class CallQueue:
    """Calls that wait for one model version. Thread-safe.

    Args:
        limits: of a batch and the queue.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self.limits = limits
        self._calls: collections.deque[Call] = collections.deque()
        self._examples = 0
        self._changed = threading.Condition()
        self._closed: ServingError | None = None
        self._pace = _Pace()

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def examples(self) -> int:
        """How many examples wait."""
        return self._examples

    def put(self, call: Call) -> None:
        """Queue a call.

        Raises:
            ServingError: ``UNAVAILABLE``, the queue is full or closed.
        """
        with self._changed:
            if self._closed is not None:
                raise self._closed
            if self._calls and self._exceeds(call):
                self._forget_unwanted()
            if self._calls and self._exceeds(call):
                raise ServingError(
                    Code.UNAVAILABLE,
                    f"The queue is full: {self._examples} examples wait, at most "
                    f"{self.limits.max_queued_examples} may",
                    retry_after_seconds=self._pace.seconds_for(self._examples),
                )
            self._calls.append(call)
            self._examples += call.request.examples
            self._changed.notify()

    def take(self) -> list[Call]:
        """Wait for calls, and take those that are to run together: at least one.

        Returns:
            Calls of one group, started. Empty: the queue is closed.
        """
        with self._changed:
            while True:
                while not self._calls and self._closed is None:
                    self._changed.wait()
                if not self._calls:
                    return []
                self._wait_for_more()
                if batch := self._take_batch():
                    return batch

    def ran(self, examples: int) -> None:
        """Tell the queue that so many examples were answered, so that it knows its pace."""
        self._pace.add(examples)

    def fail_all(self, error: ServingError) -> None:
        """Answer all that wait with an error."""
        with self._changed:
            calls = list(self._calls)
            self._calls.clear()
            self._examples = 0
        for call in calls:
            if call.future.set_running_or_notify_cancel():
                call.fail(error)

    def close(self, error: ServingError) -> None:
        """Take no more calls, and answer those that wait with the error."""
        with self._changed:
            self._closed = error
            self._changed.notify_all()
        self.fail_all(error)

    def _exceeds(self, call: Call) -> bool:
        return self._examples + call.request.examples > self.limits.max_queued_examples

    def _forget_unwanted(self) -> None:
        """Drop cancelled calls, which otherwise leave when their turn comes."""
        kept = [call for call in self._calls if not call.future.cancelled()]
        self._calls = collections.deque(kept)
        self._examples = sum(call.request.examples for call in kept)

    def _wait_for_more(self) -> None:
        """Where a timeout is configured, wait until the batch is full or the first call's is up."""
        if not self.limits.timeout_seconds or self._closed is not None:
            return
        until = self._calls[0].queued + self.limits.timeout_seconds
        while (
            self._calls
            and self._closed is None
            and sum(call.size for call in self._calls) < self.limits.max_batch_size
            and (left := until - time.monotonic()) > 0
        ):
            self._changed.wait(left)

    def _take_batch(self) -> list[Call]:
        now = time.monotonic()
        batch: list[Call] = []
        size = tokens = 0
        passed: list[Call] = []
        limits = self.limits
        while self._calls:
            call = self._calls[0]
            if batch and not (
                call.group == batch[0].group
                and size + call.size <= limits.max_batch_size
                and tokens + call.tokens <= limits.max_batch_tokens
            ):
                passed.append(self._calls.popleft())
                continue
            self._calls.popleft()
            self._examples -= call.request.examples
            if not call.start(now):
                continue
            batch.append(call)
            size += call.size
            tokens += call.tokens
            if call.group is None or size >= limits.max_batch_size:
                break
        self._calls.extendleft(reversed(passed))
        if self._calls:
            self._changed.notify()
        return batch


class _Pace:
    """Examples a second of late, for Retry-After."""

    def __init__(self) -> None:
        self._last = 0.0
        self._rate = 0.0

    def add(self, examples: int) -> None:
        now = time.monotonic()
        if self._last:
            rate = examples / max(now - self._last, 1e-6)
            self._rate = rate if not self._rate else 0.9 * self._rate + 0.1 * rate
        self._last = now

    def seconds_for(self, examples: int) -> float:
        if not self._rate:
            return _FIRST_RETRY_SECONDS
        return float(min(max(math.ceil(examples / self._rate), 1), 60))


class Grouping:
    """Decides what may be merged with what, from one model's signatures.

    Args:
        signatures: ``SignatureDef`` protos by key.
        limits: of a batch.
    """

    def __init__(self, signatures: Mapping[str, Any], limits: BatchLimits) -> None:
        self._limits = limits
        self._mergeable = {
            key for key, signature in signatures.items() if limits.enabled and _has_batch(signature)
        }

    def call(self, request: RunRequest) -> Call:
        """The request as the queue wants it."""
        group, size = self._group(request)
        return Call(
            request=request,
            future=concurrent.futures.Future(),
            group=group,
            size=size,
            tokens=estimate_tokens(request.inputs.values(), self._limits.max_tokens_of_text),
            queued=time.monotonic(),
        )

    def forbid(self, signature: str) -> None:
        """Run the signature's requests one by one from now on."""
        self._mergeable.discard(signature)

    def _group(self, request: RunRequest) -> tuple[Hashable, int]:
        if request.signature not in self._mergeable or not request.inputs:
            return None, 1
        sizes = {array.shape[0] if array.ndim else 0 for array in request.inputs.values()}
        if len(sizes) != 1 or 0 in sizes:
            return None, 1
        tensors = tuple(
            (alias, array.dtype.str, self._trailing(array))
            for alias, array in sorted(request.inputs.items())
        )
        return (request.signature, request.outputs, tensors), sizes.pop()

    def _trailing(self, array: np.ndarray) -> Hashable:
        return array.ndim if self._limits.pad_variable_length else array.shape[1:]


def estimate_tokens(arrays: Iterable[np.ndarray], most: int | None) -> int:
    """Rough number of tokens in string tensors; other tensors count nothing.

    Args:
        arrays: inputs of a call.
        most: a text's tokens beyond are cut by the model; None cuts none.
    """
    tokens = 0
    for array in arrays:
        if array.dtype != object:
            continue
        lengths = [len(text) // _BYTES_PER_TOKEN + _SPECIAL_TOKENS for text in array.flat]
        tokens += sum(lengths) if most is None else sum(min(length, most) for length in lengths)
    return tokens


def merge(calls: Sequence[Call], limits: BatchLimits) -> dict[str, np.ndarray]:
    """Inputs of a batch: the calls' inputs one after another, padded to an allowed size.

    Padding repeats the first row, so that it is legal whatever the model makes of its input.
    """
    if len(calls) == 1 and not limits.allowed_batch_sizes:
        return dict(calls[0].request.inputs)
    size = sum(call.size for call in calls)
    padding = padded_size(size, limits.allowed_batch_sizes) - size if calls[0].group else 0
    merged = {}
    for alias in calls[0].request.inputs:
        arrays = [call.request.inputs[alias] for call in calls]
        if limits.pad_variable_length:
            arrays = _pad_alike(arrays)
        if padding:
            arrays.append(np.repeat(arrays[0][:1], padding, axis=0))
        merged[alias] = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    return merged


def split(
    calls: Sequence[Call], outputs: Mapping[str, np.ndarray], limits: BatchLimits
) -> list[dict[str, np.ndarray]] | None:
    """A batch's outputs, call by call; None when they are not one row an example."""
    size = sum(call.size for call in calls)
    if calls[0].group:
        size = padded_size(size, limits.allowed_batch_sizes)
        if any(array.ndim == 0 or array.shape[0] != size for array in outputs.values()):
            return None
    elif len(calls) == 1:
        return [dict(outputs)]
    parts, start = [], 0
    for call in calls:
        stop = start + call.size
        parts.append({alias: array[start:stop] for alias, array in outputs.items()})
        start = stop
    return parts


def padded_size(size: int, allowed: Sequence[int]) -> int:
    """The smallest allowed size that is at least ``size``; itself where there is none."""
    return next((each for each in allowed if each >= size), size)


def _pad_alike(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Arrays with trailing dimensions grown to the largest, by zeros or empty strings."""
    shape = np.max([array.shape[1:] for array in arrays], axis=0)
    padded = []
    for array in arrays:
        missing = shape - array.shape[1:]
        if missing.any():
            widths = [(0, 0), *((0, int(width)) for width in missing)]
            blank: Any = b"" if array.dtype == object else 0
            array = np.pad(array, widths, constant_values=blank)
        padded.append(array)
    return padded


def _has_batch(signature: Any) -> bool:
    """Whether every tensor of a signature has a leading dimension of unknown size."""
    tensors = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(signature.inputs) and all(
        not tensor.tensor_shape.unknown_rank
        and len(tensor.tensor_shape.dim) > 0
        and tensor.tensor_shape.dim[0].size == -1
        for tensor in tensors
    )


#: Runs merged inputs; the worker's slot is bound in it.
Run = Callable[[str, Mapping[str, np.ndarray], Sequence[str]], dict[str, np.ndarray]]
