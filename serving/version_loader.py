"""Turns a version's folder into a servable: worker process, load, warm-up, queue."""

import threading

from serving import batching_parameters
from serving.batching import BatchLimits
from serving.errors import Code, ServingError
from serving.model_version import ModelVersion, max_tokens_of_text
from serving.observer import Observer
from serving.settings import ServerSettings
from serving.worker_process import LoadReport, Worker, Zygote
from serving.worker_task import WorkerTask

#: Batches that run at a time in a worker, and concurrent ops in a batch: one batch with all cores
#: to each op. all-MiniLM-L6-v2 in bfloat16 on 2 shared cores, texts a second (p50), medians:
#:
#:     clients, texts     1 batch x 2 threads   2 batches x 1 thread   2 batches x 2 threads
#:     1, full (~100)         77 (11.8 ms)           51 (15.5 ms)           38 (20.0 ms)
#:     8, short (~15)        400 (19.6 ms)          228 (34.5 ms)          355 (22.5 ms)
#:     8, full               121 (67 ms)             64 (107 ms)           131 (64 ms)
#:     32, short             668 (42 ms)            698 (41 ms)            648 (48 ms)
#:     32, full              162 (224 ms)           135 (234 ms)           138 (229 ms)
#:
#: Two concurrent ops a batch were within the noise of one, and no better for one client.
DEFAULT_BATCH_THREADS = 1
DEFAULT_INTER_OP_THREADS = 1
#: However many batch threads a file asks for: each is a socket to the worker.
_MOST_BATCH_THREADS = 64


class VersionLoader:
    """Loads versions in workers of one zygote. Thread-safe.

    Args:
        settings: of the server.
        observer: told of versions and batches.

    Raises:
        UserError: the batching parameters file is wrong.
    """

    def __init__(self, settings: ServerSettings, observer: Observer) -> None:
        self._settings = settings
        self._observer = observer
        path = settings.batching_parameters_file
        self._parameters = batching_parameters.read(path) if path else None
        self._zygote = Zygote()
        threads = self._parameters.num_batch_threads if self._parameters else None
        self._runs = min(threads or DEFAULT_BATCH_THREADS, _MOST_BATCH_THREADS)
        self._lock = threading.Lock()
        self._loading: set[Worker] = set()
        self._stopped = False

    def load(self, name: str, version: int, directory: str) -> ModelVersion:
        """Load and warm a version.

        Raises:
            ServingError: it cannot be.
        """
        max_tokens = max_tokens_of_text(directory)
        task = WorkerTask(
            directory=directory,
            intra_op_threads=self._settings.tensorflow_intra_op_parallelism,
            inter_op_threads=(
                self._settings.tensorflow_inter_op_parallelism or DEFAULT_INTER_OP_THREADS
            ),
            warm_up=self._settings.enable_model_warmup,
            precision=self._settings.precision,
            # A model card says that the export is ours, whose outputs are one computation.
            whole_answers=max_tokens is not None,
        )
        servable = ModelVersion(
            name,
            version,
            start_worker=lambda: self._start(task),
            limits=self._limits(max_tokens),
            observer=self._observer,
        )
        report = servable.report
        self._observer.version_loaded(
            name, version, directory, report.load_seconds, report.warmup_seconds
        )
        return servable

    def prepare(self) -> None:
        """Start what loads, so that the first version need not wait for it; returns at once."""
        self._zygote.prepare()

    def stop(self) -> None:
        """End the zygote and whatever is loading."""
        with self._lock:
            self._stopped = True
            loading = list(self._loading)
        for worker in loading:
            worker.kill()
        self._zygote.stop()

    def _start(self, task: WorkerTask) -> tuple[Worker, LoadReport]:
        worker = self._zygote.start_worker(self._runs)
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

    def _limits(self, max_tokens: int | None) -> BatchLimits:
        settings = self._settings
        # A model card says that the export is ours, whose gates prove that rows are independent.
        ours = max_tokens is not None
        limits = BatchLimits(
            max_batch_size=settings.max_batch_size,
            max_batch_tokens=settings.max_batch_tokens,
            max_queued_examples=settings.max_queued_examples,
            max_tokens_of_text=max_tokens,
            split_large=ours,
            trusted=ours,
            enabled=settings.enable_batching,
        )
        return self._parameters.apply(limits) if self._parameters else limits
