"""Grouping of calls into batches: merging of inputs and splitting of outputs.

No threads and no I/O. A call is a request in the queue. A piece is the rows of a call that one
batch runs, usually all of them. A batch consists of pieces of one group: the same signature,
outputs, dtypes and trailing dimensions.
"""

import concurrent.futures
import dataclasses
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.protocol.errors import Code, ServingError
from serving.protocol.servable import RunRequest

Outputs = dict[str, np.ndarray]
#: An English token has about four bytes; [CLS] and [SEP] are added to each text.
_BYTES_PER_TOKEN = 4
_SPECIAL_TOKENS = 2
#: Rows that may have more elements once padded are merged only with rows of the same shape.
_LARGEST_PADDED_ROW = 1 << 20


@dataclasses.dataclass(frozen=True)
class BatchLimits:
    """Limits of a batch and the queue.

    Attributes:
        max_batch_size: maximum number of examples in a batch of several calls.
        max_batch_tokens: maximum estimated tokens in a batch of several calls.
        max_queued_examples: maximum number of examples in the queue.
        max_tokens_of_text: length to which the model truncates texts, in tokens; None if unknown.
        timeout_seconds: time that an incomplete batch waits for more calls; 0 does not wait.
        allowed_batch_sizes: sizes to which batches are padded; empty allows all sizes.
        pad_variable_length: whether trailing dimensions are padded to the same size, as by
            TensorFlow Serving's ``pad_variable_length_inputs``.
        split_large: whether a call beyond the limits runs in pieces rather than as one batch.
        trusted: whether the rows of this model are known to be independent of each other.
        enabled: whether calls are merged at all.
    """

    max_batch_size: int = 64
    max_batch_tokens: int = 1024
    max_queued_examples: int = 4096
    max_tokens_of_text: int | None = None
    timeout_seconds: float = 0.0
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length: bool = False
    split_large: bool = False
    trusted: bool = False
    enabled: bool = True


class Call:
    """A request in the queue, and the outputs that it has received so far.

    Args:
        request: request to run.
        group: calls of the same group may be merged; None runs this call alone and as a whole.
        row_tokens: int[rows], estimated tokens of each row; one row if ``group`` is None.

    Attributes:
        future: future of the outputs.
        rows: length of the batch dimension.
        next_row: first row that is not in a batch yet.
        queued: ``time.monotonic()`` of its arrival.
    """

    __slots__ = ("_parts", "_tokens_before", "future", "group", "next_row", "queued", "request")

    def __init__(self, request: RunRequest, group: Hashable, row_tokens: np.ndarray) -> None:
        self.request = request
        self.group = group
        self.future: concurrent.futures.Future[Outputs] = concurrent.futures.Future()
        self.next_row = 0
        self.queued = time.monotonic()
        self._tokens_before = np.concatenate([[0], np.cumsum(row_tokens)])
        self._parts: dict[int, Outputs] = {}
        self.future.add_done_callback(self._free_cancelled)

    def _free_cancelled(self, future: "concurrent.futures.Future[Outputs]") -> None:
        """Free the inputs of a cancelled call, which stays in the queue until it is taken."""
        if future.cancelled():
            self.request = dataclasses.replace(self.request, inputs={})

    @property
    def rows(self) -> int:
        """Length of the batch dimension; 1 if the call runs alone."""
        return len(self._tokens_before) - 1

    def tokens(self, start: int, stop: int) -> int:
        """Return the estimated tokens of a range of rows."""
        return int(self._tokens_before[stop] - self._tokens_before[start])

    def rows_within(self, size: int, tokens: int) -> int:
        """Return how many of the remaining rows fit in a batch; at least one."""
        most = self._tokens_before[self.next_row] + tokens
        stop = int(np.searchsorted(self._tokens_before, most, side="right")) - 1
        return max(min(stop, self.next_row + size) - self.next_row, 1)

    def fail(self, error: Exception) -> None:
        """Fail the call, unless it already has a result."""
        if not self.future.done():
            self.future.set_exception(error)

    def answer(self, start: int, outputs: Outputs) -> None:
        """Add the outputs of the rows from ``start``; finish when all rows have outputs."""
        if self.future.done():
            return
        self._parts[start] = outputs
        if sum(_rows(part) for part in self._parts.values()) < self.rows and self.group:
            return
        parts = [self._parts[start] for start in sorted(self._parts)]
        joined = parts[0]
        if len(parts) > 1:
            joined = {alias: np.concatenate([part[alias] for part in parts]) for alias in joined}
        self.finish(joined)

    def finish(self, outputs: Outputs) -> None:
        """Finish the call with all outputs, unless it already has a result."""
        if not self.future.done():
            self.future.set_result(outputs)

    def wanted(self, now: float) -> bool:
        """Return whether a caller still waits; afterwards, the call cannot be cancelled."""
        if self.future.done() and not self.future.cancelled():
            return False
        if not self.future.running() and not self.future.set_running_or_notify_cancel():
            return False
        if self.request.deadline is not None and self.request.deadline <= now:
            self.fail(
                ServingError(Code.DEADLINE_EXCEEDED, "The deadline passed while the call waited")
            )
            return False
        return True


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a call that one batch runs.

    Attributes:
        call: the call.
        start: first row.
        stop: row after the last.
    """

    call: Call
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @property
    def inputs(self) -> Mapping[str, np.ndarray]:
        """Rows of every input."""
        inputs = self.call.request.inputs
        if self.rows == self.call.rows:
            return inputs
        return {alias: array[self.start : self.stop] for alias, array in inputs.items()}


class Grouping:
    """Rules for which calls of a model may be merged.

    Args:
        signatures: ``SignatureDef`` protos by key.
        limits: limits of a batch.
    """

    def __init__(self, signatures: Mapping[str, Any], limits: BatchLimits) -> None:
        self._limits = limits
        self._mergeable = {
            key for key, signature in signatures.items() if limits.enabled and _has_batch(signature)
        }

    def call(self, request: RunRequest) -> Call:
        """Convert a request to a call for the queue."""
        group, rows = self._group(request)
        tokens = row_tokens(request.inputs.values(), rows, self._limits.max_tokens_of_text)
        return Call(request, group, tokens)

    def forbid(self, signature: str) -> None:
        """Stop merging requests for a signature."""
        self._mergeable.discard(signature)

    def _group(self, request: RunRequest) -> tuple[Hashable, int]:
        if request.signature not in self._mergeable:
            return None, 1
        rows = {array.shape[0] if array.ndim else 0 for array in request.inputs.values()}
        if len(rows) != 1 or 0 in rows:
            return None, 1
        tensors = tuple(
            (alias, array.dtype.str, self._trailing(array))
            for alias, array in sorted(request.inputs.items())
        )
        return (request.signature, request.outputs, tensors), rows.pop()

    def _trailing(self, array: np.ndarray) -> Hashable:
        trailing = array.shape[1:]
        # Padding to one long row multiplies it by the rows of the batch, and in each dimension.
        padded = self._limits.pad_variable_length and (
            max(trailing, default=0) ** len(trailing) <= _LARGEST_PADDED_ROW
        )
        return array.ndim if padded else trailing


def row_tokens(arrays: Iterable[np.ndarray], rows: int, most: int | None) -> np.ndarray:
    """Estimate the number of tokens of each row's texts; other tensors have none.

    Args:
        arrays: inputs of a call; the leading dimension is ``rows`` if that is above 1.
        rows: number of rows of the call.
        most: length to which the model truncates texts, in tokens; None for no limit.

    Returns:
        int64[rows].
    """
    tokens = np.zeros(rows, np.int64)
    for array in arrays:
        if array.dtype != object or not array.size:
            continue
        lengths = np.fromiter(map(len, array.flat), np.int64, array.size)
        lengths = lengths // _BYTES_PER_TOKEN + _SPECIAL_TOKENS
        if most is not None:
            np.minimum(lengths, most, out=lengths)
        tokens += lengths.reshape(rows, -1).sum(axis=1)
    return tokens


def merge(batch: Sequence[Piece], limits: BatchLimits) -> Mapping[str, np.ndarray]:
    """Concatenate the rows of a batch's pieces, padded to an allowed size.

    Padding repeats the first row, which is a valid input for any model.
    """
    padding = padded_rows(batch, limits) - sum(piece.rows for piece in batch)
    if len(batch) == 1 and not padding:
        return batch[0].inputs
    inputs = [piece.inputs for piece in batch]
    merged = {}
    for alias in inputs[0]:
        arrays = [each[alias] for each in inputs]
        if limits.pad_variable_length:
            arrays = _pad_alike(arrays)
        if padding:
            arrays.append(np.repeat(arrays[0][:1], padding, axis=0))
        merged[alias] = np.concatenate(arrays)
    return merged


def split(batch: Sequence[Piece], outputs: Outputs, limits: BatchLimits) -> list[Outputs] | None:
    """Split a batch's outputs into pieces; None if they do not have one row for each input row."""
    if batch[0].call.group is None:
        return [outputs]
    rows = padded_rows(batch, limits)
    if any(array.ndim == 0 or array.shape[0] != rows for array in outputs.values()):
        return None
    parts, start = [], 0
    for piece in batch:
        stop = start + piece.rows
        parts.append({alias: array[start:stop] for alias, array in outputs.items()})
        start = stop
    return parts


def padded_rows(batch: Sequence[Piece], limits: BatchLimits) -> int:
    """Return the rows of a batch, padded to the smallest sufficient allowed size, if any."""
    rows = sum(piece.rows for piece in batch)
    if batch[0].call.group is None:
        return rows
    return next((size for size in limits.allowed_batch_sizes if size >= rows), rows)


def _rows(outputs: Outputs) -> int:
    return max((array.shape[0] for array in outputs.values() if array.ndim), default=0)


def _pad_alike(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Pad trailing dimensions to the largest, with zeros or empty strings."""
    shape = np.max([array.shape[1:] for array in arrays], axis=0)
    padded = []
    for array in arrays:
        missing = shape - array.shape[1:]
        if np.any(missing):
            widths = [(0, 0), *((0, int(width)) for width in missing)]
            blank: Any = b"" if array.dtype == object else 0
            array = np.pad(array, widths, constant_values=blank)
        padded.append(array)
    return padded


def _has_batch(signature: Any) -> bool:
    """Return whether every tensor of a signature has a leading dimension of unknown size."""
    tensors = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(signature.inputs) and all(
        not tensor.tensor_shape.unknown_rank
        and len(tensor.tensor_shape.dim) > 0
        and tensor.tensor_shape.dim[0].size == -1
        for tensor in tensors
    )
