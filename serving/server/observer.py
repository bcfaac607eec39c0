"""What the manager tells whoever measures the server. Does nothing; metrics override it."""

from collections.abc import Sequence

from serving.server import metrics


class Observer:
    """Called from many threads, on the way of requests: quick, and raises nothing."""

    def version_loaded(
        self, model: str, version: int, path: str, load_seconds: float, warmup_seconds: float
    ) -> None:
        """A version became available."""

    def batch_ran(
        self,
        model: str,
        version: int,
        signature: str,
        examples: int,
        queue_seconds: Sequence[float],
        run_seconds: float,
    ) -> None:
        """A batch was run, well or not.

        Args:
            model: its name.
            version: its number.
            signature: its key.
            examples: in the batch.
            queue_seconds: how long each of its calls waited.
            run_seconds: from the front to the worker and back.
        """


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
