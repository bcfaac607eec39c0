"""Execution of batches, in which no request can affect the response to another."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from serving.protocol.errors import Code, ServingError
from serving.server.batches.batching import BatchLimits, Grouping, Outputs, Piece, merge, split
from serving.server.worker.worker_process import WorkerDiedError

#: Function that runs a signature: (key, inputs, outputs) -> arrays by alias.
Run = Callable[[str, Mapping[str, np.ndarray], Sequence[str]], Outputs]
#: Allowed rounding differences between the outputs of a row in a batch and of the row alone.
_RELATIVE_TOLERANCE = 0.05
_ABSOLUTE_TOLERANCE = 0.02


class BatchRunner:
    """Runner for the batches of a model version. Thread-safe.

    If the graph refuses a merged batch, its calls are run one by one, so that only the invalid
    request fails. A signature whose outputs change when rows are merged is not merged again. Unless
    the model is trusted, the first merged batch of a signature is compared with separate runs.

    Args:
        grouping: grouping that is informed of signatures which must not be merged.
        limits: limits of a batch.
    """

    def __init__(self, grouping: Grouping, limits: BatchLimits) -> None:
        self._grouping = grouping
        self._limits = limits
        self._trusted: set[str] = set()

    def answer(self, batch: Sequence[Piece], run: Run) -> None:
        """Run a batch and answer its calls with outputs or errors.

        Raises:
            WorkerDiedError: the worker died; some calls are not answered.
        """
        parts = self._run(batch, run)
        if parts is None:
            self._answer_one_by_one(batch, run)
            return
        for piece, part in zip(batch, parts, strict=True):
            piece.call.answer(piece.start, part)

    def _run(self, batch: Sequence[Piece], run: Run) -> list[Outputs] | None:
        """Return the outputs of each piece; None if every piece must be run separately."""
        request = batch[0].call.request
        try:
            outputs = run(request.signature, merge(batch, self._limits), request.outputs)
        except WorkerDiedError:
            raise
        except ServingError as error:
            if len(batch) > 1 and error.code == Code.INVALID_ARGUMENT:
                return None
            for piece in batch:
                piece.call.fail(error)
            return [{} for _ in batch]
        parts = split(batch, outputs, self._limits)
        if parts is None and len(batch) == 1 and batch[0].rows == batch[0].call.rows:
            # No rows of different calls were mixed, except with padding.
            self._grouping.forbid(request.signature)
            return None if self._limits.allowed_batch_sizes else [outputs]
        if parts is None or not self._proven(batch, parts, run):
            self._grouping.forbid(request.signature)
            return None
        return parts

    def _proven(self, batch: Sequence[Piece], parts: Sequence[Outputs], run: Run) -> bool:
        """Return whether merging keeps the outputs; a signature's first batch is compared."""
        request = batch[0].call.request
        if self._limits.trusted or len(batch) == 1 or request.signature in self._trusted:
            return True
        for piece, part in zip(batch, parts, strict=True):
            alone = run(request.signature, piece.inputs, request.outputs)
            if not all(_alike(alone[alias], part[alias]) for alias in alone):
                return False
        self._trusted.add(request.signature)
        return True

    def _answer_one_by_one(self, batch: Sequence[Piece], run: Run) -> None:
        for piece in batch:
            request = piece.call.request
            # Run the whole call: its pieces would be no safer than the batch.
            try:
                outputs = run(request.signature, request.inputs, request.outputs)
            except WorkerDiedError:
                raise
            except ServingError as error:
                piece.call.fail(error)
            else:
                piece.call.finish(outputs)


def _alike(alone: np.ndarray, merged: np.ndarray) -> bool:
    if alone.shape != merged.shape:
        return False
    if alone.dtype.kind not in "fc":
        return bool(np.array_equal(alone, merged))
    return bool(
        np.allclose(
            merged, alone, rtol=_RELATIVE_TOLERANCE, atol=_ABSOLUTE_TOLERANCE, equal_nan=True
        )
    )
