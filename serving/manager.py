"""Keeps the configured models served: watches, loads, warms, flips, drains, unloads.

Availability comes first: a new version is loaded and warm before the old one goes, one that fails
never takes traffic, and a base path that is missing or empty unloads nothing.
"""

import concurrent.futures
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from modules.errors import UserError
from serving import managed_version, model_config, version_source
from serving.errors import Code, ServingError
from serving.labels import Labels
from serving.managed_version import Handle, ManagedVersion
from serving.model_config import ModelConfig
from serving.observer import Observer
from serving.servable import ServableHandle, State, VersionStatus
from serving.settings import ServerSettings
from serving.version_loader import VersionLoader

logger = logging.getLogger(__name__)

#: Makes a version's servable (model, number, folder), or raises ``ServingError``.
Load = Callable[[str, int, str], Any]


class ModelManager:
    """``serving.servable.Models`` over worker processes.

    Args:
        settings: of the server.
        observer: told of versions and batches.
        load: makes servables; None makes worker processes.
    """

    def __init__(
        self,
        settings: ServerSettings,
        observer: Observer | None = None,
        load: Load | None = None,
    ) -> None:
        self._settings = settings
        self._loader = VersionLoader(settings, observer or Observer()) if load is None else None
        self._load = load or self._loader.load  # type: ignore[union-attr]
        self._changed = threading.Condition(threading.RLock())
        self._models: dict[str, ModelConfig] = {}
        self._versions: dict[str, dict[int, ManagedVersion]] = {}
        self._aspired: dict[str, Mapping[int, str]] = {}
        self._labels = Labels(settings.allow_version_labels_for_unavailable_models)
        self._reloading = threading.Lock()
        self._config_file_stamp: object = None
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(
            settings.num_load_threads, thread_name_prefix="load"
        )
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        """Read the configuration and begin to load; returns at once.

        Raises:
            UserError: the configuration is wrong.
        """
        self._config_file_stamp = self._stamp_config_file()
        models = model_config.from_settings(self._settings)
        with self._changed:
            self._models = models
            self._labels.replace({name: model.labels for name, model in models.items()})
        if self._settings.file_system_poll_wait_seconds >= 0:
            self._poll_base_paths(models)
        self._watcher.start()

    def stop(self, drain_seconds: float = 0) -> None:
        """Refuse new calls, wait for those that run, end every worker.

        Args:
            drain_seconds: how long to wait for them at most.
        """
        self._stopping.set()
        self._wake.set()
        with self._changed:
            versions = [each for model in self._versions.values() for each in model.values()]
            self._changed.wait_for(
                lambda: not any(version.pins for version in versions), drain_seconds
            )
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._loader is not None:
            self._loader.stop()
        self._pool.shutdown(wait=True)
        if self._watcher.is_alive():
            self._watcher.join()
        for version in versions:
            if version.servable is not None:
                version.servable.close()

    def wait_until_ready(self, timeout_seconds: float) -> bool:
        """Whether ``ready`` came true in time."""
        with self._changed:
            return self._changed.wait_for(self.ready, timeout_seconds)

    def acquire(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> ServableHandle:
        """Pin a version. See ``Models``."""
        with self._changed:
            if self._stopping.is_set():
                raise ServingError(Code.UNAVAILABLE, "The server is stopping")
            if label is not None:
                version = self._labels.resolve(name, label)
            found = self._available(name, version)
            if found is None:
                what = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {what}")
            found.pins += 1
            return Handle(found, self._changed)

    def statuses(self, name: str, version: int | None = None) -> Sequence[VersionStatus]:
        """Every version ever seen. See ``Models``."""
        with self._changed:
            versions = self._versions.get(name, {})
            if version is not None:
                if version not in versions:
                    raise ServingError(
                        Code.NOT_FOUND, f"Could not find version {version} of model {name}"
                    )
                return [versions[version].status()]
            if not versions:
                raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
            return [versions[number].status() for number in sorted(versions, reverse=True)]

    def label_version(self, name: str, label: str) -> int:
        """The version that a label points at. See ``Models``."""
        with self._changed:
            return self._labels.resolve(name, label)

    def reload(self, config: Any) -> None:
        """Serve what a ``ModelServerConfig`` says from now on; waits until new models are served.

        Raises:
            ServingError: it is refused and nothing changed, or a new model cannot be served.
        """
        with self._reloading:
            if config.WhichOneof("config") is None:
                return  # as TensorFlow Serving: no action for an empty config
            models = model_config.from_proto(config)
            with self._changed:
                new = models.keys() - self._models.keys()
                labels = {name: model.labels for name, model in models.items()}
                self._labels.check(labels, new, self._is_available)
            self._apply(models)
            self._wait_for_models(new)

    def ready(self) -> bool:
        """Every configured model has an available version whose worker is up. See ``Models``."""
        with self._changed:
            newest = [self._available(name, None) for name in self._models]
            return not self._stopping.is_set() and all(
                version is not None and version.servable.healthy for version in newest
            )

    def _available(self, name: str, number: int | None) -> ManagedVersion | None:
        """The version, or the newest, if it is served."""
        versions = self._versions.get(name, {})
        if number is None:
            served = (each for each in versions.values() if each.state == State.AVAILABLE)
            return max(served, key=lambda each: each.number, default=None)
        version = versions.get(number)
        return version if version and version.state == State.AVAILABLE else None

    def _is_available(self, name: str, number: int) -> bool:
        return self._available(name, number) is not None

    def _apply(self, models: Mapping[str, ModelConfig]) -> None:
        """Serve these models from now on."""
        with self._changed:
            for name in self._models.keys() - models.keys():
                self._aspired[name] = {}
            self._models = dict(models)
            self._labels.replace({name: model.labels for name, model in models.items()})
        self._poll_base_paths(models)
        self._reconcile()

    def _wait_for_models(self, names: Collection[str]) -> None:
        def settled() -> bool:
            return self._stopping.is_set() or all(
                self._available(name, None) is not None or self._hopeless(name) for name in names
            )

        with self._changed:
            self._changed.wait_for(settled)
            failed = [name for name in sorted(names) if self._available(name, None) is None]
            if failed:
                reasons = ", ".join(self._reason(name) for name in failed)
                raise ServingError(
                    Code.UNKNOWN,
                    f"{len(failed)} model(s) did not become available: {{{reasons}}}",
                )

    def _hopeless(self, name: str) -> bool:
        versions = self._versions.get(name, {})
        return all(version.failed for version in versions.values())

    def _reason(self, name: str) -> str:
        versions = self._versions.get(name)
        if not versions:
            return f"{{name: {name}}} due to error: no version under its base path"
        newest = versions[max(versions)]
        return f"{{name: {name} version: {newest.number}}} due to error: {newest.message}"

    # What follows runs in the threads of the manager.

    def _watch(self) -> None:
        """Thread: poll what is to be polled, when it is due."""
        poll = self._settings.file_system_poll_wait_seconds
        poll_config = self._settings.model_config_file_poll_wait_seconds
        next_poll = time.monotonic() + poll if poll > 0 else float("inf")
        next_config = time.monotonic() + poll_config if poll_config > 0 else float("inf")
        while not self._stopping.is_set():
            self._wake.clear()
            retry = self._reconcile()
            left = min(next_poll, next_config, retry) - time.monotonic()
            if not self._wake.wait(max(left, 0) if left < threading.TIMEOUT_MAX else None):
                now = time.monotonic()
                if now >= next_config:
                    self._poll_config_file()
                    next_config = now + poll_config
                if now >= next_poll:
                    with self._changed:
                        models = self._models
                    self._poll_base_paths(models)
                    next_poll = now + poll

    def _stamp_config_file(self) -> object:
        path = self._settings.model_config_file
        if not path:
            return None
        try:
            status = os.stat(path)
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def _poll_config_file(self) -> None:
        stamp = self._stamp_config_file()
        if stamp is None or stamp == self._config_file_stamp:
            return
        self._config_file_stamp = stamp
        try:
            models = model_config.from_settings(self._settings)
        except UserError as error:
            logger.error("the model config is left as it was: %s", error)
            return
        with self._reloading:
            self._apply(models)

    def _poll_base_paths(self, models: Mapping[str, ModelConfig]) -> None:
        for name, model in models.items():
            found = version_source.find_versions(model.base_path)
            wanted = model.policy.choose(found)
            if not wanted:
                continue  # whatever is served stays
            aspired = {number: found[number] for number in wanted}
            with self._changed:
                if name in self._models:
                    self._aspired[name] = aspired

    def _reconcile(self) -> float:
        """Begin what is due; returns when something is due next, on the monotonic clock."""
        with self._changed:
            if self._stopping.is_set():
                return float("inf")
            for name, aspired in self._aspired.items():
                self._begin(name, aspired)
                for version in managed_version.versions_to_unload(
                    self._versions[name].values(), aspired
                ):
                    self._begin_unload(version)
            self._labels.settle(self._is_available)
            return self._submit_due()

    def _begin(self, name: str, aspired: Mapping[int, str]) -> None:
        versions = self._versions.setdefault(name, {})
        for version in versions.values():
            if version.number not in aspired and version.due is not None:
                version.due = None  # not wanted any more, before it was tried
                version.enter(State.END)
        failed = {
            number: version_source.fingerprint(path)
            for number, path in aspired.items()
            if number in versions and versions[number].failed
        }
        for number in managed_version.versions_to_start(versions, aspired, failed):
            versions[number] = ManagedVersion(name, number, aspired[number])

    def _submit_due(self) -> float:
        now = time.monotonic()
        next_due = float("inf")
        waiting = [
            v for model in self._versions.values() for v in model.values() if v.due is not None
        ]
        for version in sorted(waiting, key=lambda version: -version.number):
            assert version.due is not None
            if version.due > now:
                next_due = min(next_due, version.due)
                continue
            version.due = None
            self._pool.submit(self._load_version, version)
        self._changed.notify_all()
        return next_due

    def _load_version(self, version: ManagedVersion) -> None:
        """In the load pool: try once."""
        with self._changed:
            if version.number not in self._aspired[version.name]:
                version.enter(State.END)  # not wanted any more, before its turn came
                return
            version.enter(State.LOADING)
            self._changed.notify_all()
        version.fingerprint = version_source.fingerprint(version.path)
        logger.info("loading %s/%d", version.name, version.number)
        try:
            servable = self._load(version.name, version.number, version.path)
        except ServingError as error:
            self._load_failed(version, error)
        except Exception as error:
            logger.exception("loading %s/%d failed", version.name, version.number)
            message = f"{type(error).__name__}: {error}"
            self._load_failed(version, ServingError(Code.INTERNAL, message))
        else:
            with self._changed:
                version.servable = servable
                version.enter(State.AVAILABLE)
                self._changed.notify_all()
            logger.info("%s/%d is available", version.name, version.number)
        self._wake.set()

    def _load_failed(self, version: ManagedVersion, error: ServingError) -> None:
        logger.error("%s/%d does not load: %s", version.name, version.number, error.message)
        with self._changed:
            version.failures += 1
            if version.failures > self._settings.max_num_load_retries:
                version.enter(State.END, error.code, error.message)
            else:
                version.enter(State.LOADING, error.code, error.message)
                wait = max(self._settings.load_retry_interval_micros, 0) / 1e6
                version.due = time.monotonic() + wait
            self._changed.notify_all()

    def _begin_unload(self, version: ManagedVersion) -> None:
        version.enter(State.UNLOADING)
        name = f"unload {version.name}/{version.number}"
        threading.Thread(target=self._unload, args=(version,), name=name, daemon=True).start()

    def _unload(self, version: ManagedVersion) -> None:
        """Thread of its own: wait for the calls that run, then end the worker."""
        with self._changed:
            self._changed.wait_for(
                lambda: version.pins == 0 or self._stopping.is_set(), self._settings.drain_seconds
            )
        version.servable.close()
        with self._changed:
            version.servable = None
            version.enter(State.END)
            self._changed.notify_all()
        logger.info("%s/%d is unloaded", version.name, version.number)
        self._wake.set()
