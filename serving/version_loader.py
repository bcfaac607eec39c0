"""Turns a version's folder into a servable: worker process, load, warm-up, queue."""

import threading

from serving.batching import BatchLimits
from serving.errors import Code, ServingError
from serving.model_version import ModelVersion, max_tokens_of_text
from serving.observer import Observer
from serving.settings import ServerSettings
from serving.worker_process import LoadReport, Worker, Zygote
from serving.worker_task import WorkerTask


class VersionLoader:
    """Loads versions in workers of one zygote. Thread-safe.

    Args:
        settings: of the server.
        observer: told of versions and batches.
    """

    def __init__(self, settings: ServerSettings, observer: Observer) -> None:
        self._settings = settings
        self._observer = observer
        self._zygote = Zygote()
        self._lock = threading.Lock()
        self._loading: set[Worker] = set()
        self._stopped = False

    def load(self, name: str, version: int, directory: str) -> ModelVersion:
        """Load and warm a version.

        Raises:
            ServingError: it cannot be.
        """
        task = WorkerTask(
            directory=directory,
            intra_op_threads=self._settings.tensorflow_intra_op_parallelism,
            inter_op_threads=self._settings.tensorflow_inter_op_parallelism,
            warm_up=self._settings.enable_model_warmup,
            precision=self._settings.precision,
        )
        servable = ModelVersion(
            name,
            version,
            start_worker=lambda: self._start(task),
            limits=self._limits(directory),
            observer=self._observer,
        )
        report = servable.report
        self._observer.version_loaded(
            name, version, directory, report.load_seconds, report.warmup_seconds
        )
        return servable

    def stop(self) -> None:
        """End the zygote and whatever is loading."""
        with self._lock:
            self._stopped = True
            loading = list(self._loading)
        for worker in loading:
            worker.kill()
        self._zygote.stop()

    def _start(self, task: WorkerTask) -> tuple[Worker, LoadReport]:
        worker = self._zygote.start_worker(runs=1)
        with self._lock:
            self._loading.add(worker)
            stopped = self._stopped
        try:
            if stopped:
                raise ServingError(Code.UNAVAILABLE, "the server is stopping")
            return worker, worker.load(task)
        except BaseException:
            worker.kill()
            raise
        finally:
            with self._lock:
                self._loading.discard(worker)

    def _limits(self, directory: str) -> BatchLimits:
        settings = self._settings
        return BatchLimits(
            max_batch_size=settings.max_batch_size,
            max_batch_tokens=settings.max_batch_tokens,
            max_queued_examples=settings.max_queued_examples,
            max_tokens_of_text=max_tokens_of_text(directory),
            enabled=settings.enable_batching,
        )
