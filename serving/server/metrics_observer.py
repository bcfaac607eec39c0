"""Puts what the manager tells into the metrics."""

from collections.abc import Sequence

from serving.server import metrics
from serving.server.observer import Observer

_MICROS = 1e6


class MetricsObserver(Observer):
    """``Observer`` that measures."""

    def version_loaded(
        self, model: str, version: int, path: str, load_seconds: float, warmup_seconds: float
    ) -> None:
        """A version became available."""
        metrics.MODEL_WARMUP_LATENCY.observe(warmup_seconds * _MICROS, path, "OK")

    def batch_ran(
        self,
        model: str,
        version: int,
        signature: str,
        examples: int,
        queue_seconds: Sequence[float],
        run_seconds: float,
    ) -> None:
        """A batch was run."""
        for seconds in queue_seconds:
            metrics.QUEUING_LATENCY.observe(seconds * _MICROS, model)
