"""Runs batches and hands out their answers, and never lets one request spoil another's."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from serving.protocol.errors import Code, ServingError
from serving.server.batches.batching import BatchLimits, Grouping, Outputs, Piece, merge, split
from serving.server.worker.worker_process import WorkerDiedError

#: Runs a signature: (key, inputs, outputs) -> arrays by alias.
Run = Callable[[str, Mapping[str, np.ndarray], Sequence[str]], Outputs]
#: Numbers of a row in a batch and of the row alone may differ by rounding.
_RELATIVE_TOLERANCE = 0.05
_ABSOLUTE_TOLERANCE = 0.02


class BatchRunner:
    """Answers batches of one model version. Thread-safe.

    A merged batch that the graph refuses is run again call by call, so that a bad request fails
    alone. A signature whose answers change when rows are merged is never merged again; in models
    that nobody vouches for, its first merged batch is compared with the single answers to know.

    Args:
        grouping: told which signatures must not be merged.
        limits: of a batch.
    """

    def __init__(self, grouping: Grouping, limits: BatchLimits) -> None:
        self._grouping = grouping
        self._limits = limits
        self._trusted: set[str] = set()

    def answer(self, batch: Sequence[Piece], run: Run) -> None:
        """Run a batch and answer its calls, with outputs or errors.

        Raises:
            WorkerDiedError: no call that is not answered yet will be.
        """
        parts = self._run(batch, run)
        if parts is None:
            self._answer_one_by_one(batch, run)
            return
        for piece, part in zip(batch, parts, strict=True):
            piece.call.answer(piece.start, part)

    def _run(self, batch: Sequence[Piece], run: Run) -> list[Outputs] | None:
        """Outputs piece by piece; None: every piece is to be run alone."""
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
            # Nobody's rows were mixed, unless padding was.
            self._grouping.forbid(request.signature)
            return None if self._limits.allowed_batch_sizes else [outputs]
        if parts is None or not self._proven(batch, parts, run):
            self._grouping.forbid(request.signature)
            return None
        return parts

    def _proven(self, batch: Sequence[Piece], parts: Sequence[Outputs], run: Run) -> bool:
        """Whether merging leaves the answers as they are; asked of a signature's first batch."""
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
            # The whole call: pieces of it would be no safer than the batch was.
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
