"""Loading of a version's folder into a servable: worker process, load, warm-up, queue."""

import dataclasses
import threading
from collections.abc import Mapping

from serving.protocol.errors import Code, ServingError
from serving.server.batches.batching import BatchLimits
from serving.server.observer import Observer
from serving.server.settings import ServerSettings
from serving.server.usable_cpus import usable_cpus
from serving.server.versions import batching_parameters, version_source
from serving.server.versions.model_version import ModelVersion, max_tokens_of_text
from serving.server.worker.worker_process import LoadReport, Worker, Zygote
from serving.server.worker.worker_task import WorkerTask

#: Run the operations of a call in the thread that makes the call. A thread pool of the session
#: would add a hand-over to each call, and one of a single thread would serialise the calls. In an
#: export of this project no operation waits for another.
IN_THE_CALLERS_THREAD = -1
#: Threads for one operation in an export of this project. Its many short operations gain less from
#: a second core than another batch does: see "The server" in docs/results.md.
_INTRA_OP_THREADS = 1
#: Limit for a file's batch threads, each of which needs a socket to the worker.
_MOST_BATCH_THREADS = 64


class VersionLoader:
    """Loader of versions in workers forked from one zygote. Thread-safe.

    Args:
        settings: settings of the server.
        observer: observer of loaded versions and batches.

    Raises:
        UserError: the batching parameters file is invalid.
    """

    def __init__(self, settings: ServerSettings, observer: Observer) -> None:
        self._settings = settings
        self._observer = observer
        path = settings.batching_parameters_file
        self._parameters = batching_parameters.read(path) if path else None
        self._zygote = Zygote()
        threads = self._parameters.num_batch_threads if self._parameters else None
        self._runs = min(threads or usable_cpus(), _MOST_BATCH_THREADS)
        self._lock = threading.Lock()
        self._loading: set[Worker] = set()
        self._stopped = False
        #: Measured ``Choice.run_as`` by fingerprint of the graph.
        self._precisions: dict[str, Mapping[str, str]] = {}

    def load(self, name: str, version: int, directory: str) -> ModelVersion:
        """Load and warm a version.

        Raises:
            ServingError: the version cannot be loaded, or holds a file that is not regular, or its
                warm-up fails.
        """
        version_source.check_files(directory)
        max_tokens = max_tokens_of_text(directory)
        # A model card marks an export of this project, whose outputs are one computation.
        ours = max_tokens is not None
        settings = self._settings
        # Operations of other models may wait for each other, or be few and long: use all cores.
        intra, inter = (_INTRA_OP_THREADS, IN_THE_CALLERS_THREAD) if ours else (0, 0)
        task = WorkerTask(
            directory=directory,
            intra_op_threads=settings.tensorflow_intra_op_parallelism or intra,
            inter_op_threads=settings.tensorflow_inter_op_parallelism or inter,
            warm_up=settings.enable_model_warmup,
            precision=settings.precision,
            own_export=ours,
            allow_unsafe_ops=settings.allow_unsafe_ops,
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
        """Start the zygote in the background, so that the first version does not wait for it."""
        self._zygote.prepare()

    def stop(self) -> None:
        """Stop the zygote and all running loads."""
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
            task = dataclasses.replace(task, known_precisions=dict(self._precisions))
        try:
            if stopped:
                raise ServingError(Code.UNAVAILABLE, "the server is stopping")
            report = worker.load(task)
            if report.measured and report.fingerprint:
                with self._lock:
                    self._precisions[report.fingerprint] = report.run_as
            return worker, report
        except BaseException:
            worker.kill()
            raise
        finally:
            with self._lock:
                self._loading.discard(worker)

    def _limits(self, max_tokens: int | None) -> BatchLimits:
        settings = self._settings
        # A model card marks an export of this project, whose gates prove that rows are independent.
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
