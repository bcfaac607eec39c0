"""Observer of loaded versions and batches."""

from collections.abc import Sequence

from serving.server import metrics

_MICROS = 1e6


class Observer:
    """Updates the metrics when a version was loaded or a batch ran.

    Requests wait while its methods run, on many threads: they must be quick and must not raise.
    """

    def version_loaded(
        self, model: str, version: int, path: str, load_seconds: float, warmup_seconds: float
    ) -> None:
        """Record that a version became available.

        Args:
            model: name of the model.
            version: version number.
            path: folder of the version.
            load_seconds: duration of reading and initialising the model.
            warmup_seconds: duration of the warm-up.
        """
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
        """Record that a batch ran, whether it succeeded or failed.

        Args:
            model: name of the model.
            version: version number.
            signature: key of the signature.
            examples: number of examples in the batch.
            queue_seconds: time that each call waited.
            run_seconds: time from the front process to the worker and back.
        """
        for seconds in queue_seconds:
            metrics.QUEUING_LATENCY.observe(seconds * _MICROS, model)
