"""Answers what is served, and keeps that so: reads configuration, watches files, moves labels."""

import logging
import os
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from modules.contract.errors import UserError
from serving.protocol.errors import Code, ServingError
from serving.protocol.servable import ServableHandle, VersionStatus
from serving.server.observer import Observer
from serving.server.settings import ServerSettings
from serving.server.versions import model_config, version_source
from serving.server.versions.labels import Labels
from serving.server.versions.managed_version import Handle
from serving.server.versions.model_config import ModelConfig
from serving.server.versions.version_lifecycle import Load, VersionLifecycle
from serving.server.versions.version_loader import VersionLoader

logger = logging.getLogger(__name__)


class ModelManager:
    """``serving.protocol.servable.Models`` over worker processes.

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
        self._changed = threading.Condition(threading.RLock())
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._lifecycle = VersionLifecycle(
            settings,
            load or self._loader.load,  # type: ignore[union-attr]
            self._changed,
            self._wake.set,
        )
        self._models: dict[str, ModelConfig] = {}
        self._labels = Labels(settings.allow_version_labels_for_unavailable_models)
        self._reloading = threading.Lock()
        self._config_file_stamp: object = None
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        """Read the configuration and begin to load; returns at once.

        Raises:
            UserError: the configuration is wrong.
        """
        self._config_file_stamp = self._stamp_config_file()
        models = model_config.from_settings(self._settings)
        if self._loader is not None:
            self._loader.prepare()
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
        stop_loading = self._loader.stop if self._loader is not None else lambda: None
        self._lifecycle.stop(drain_seconds, stop_loading)
        if self._watcher.is_alive():
            self._watcher.join()

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
            found = self._lifecycle.available(name, version)
            if found is None:
                what = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {what}")
            found.pins += 1
            return Handle(found, self._changed)

    def statuses(self, name: str, version: int | None = None) -> Sequence[VersionStatus]:
        """Every version ever seen. See ``Models``."""
        with self._changed:
            versions = self._lifecycle.versions(name)
            if version is not None:
                if version not in versions:
                    raise ServingError(
                        Code.NOT_FOUND, f"Could not find version {version} of model {name}"
                    )
                return [versions[version].status()]
            if not versions:
                raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
            return [versions[number].status() for number in sorted(versions, reverse=True)]

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
        """Every configured model has an available version whose worker is up. See ``Models``.

        Where a label says which version is the stable one, another does not do while that one is
        still to come: callers ask for the stable one.
        """
        with self._changed:
            newest = [self._lifecycle.available(name, None) for name in self._models]
            return not self._stopping.is_set() and all(
                version is not None
                and version.servable.healthy
                and not self._lifecycle.is_coming(
                    version.name, self._labels.stable(version.name) or 0
                )
                for version in newest
            )

    def _is_available(self, name: str, number: int) -> bool:
        return self._lifecycle.available(name, number) is not None

    def _apply(self, models: Mapping[str, ModelConfig]) -> None:
        """Serve these models from now on."""
        with self._changed:
            for name in self._models.keys() - models.keys():
                self._lifecycle.aspire(name, {})
            self._models = dict(models)
            self._labels.replace({name: model.labels for name, model in models.items()})
        self._poll_base_paths(models)
        self._reconcile()

    def _reconcile(self) -> float:
        """Begin what is due; returns when something is due next, on the monotonic clock."""
        with self._changed:
            # Labels first: none may lead to a version that is being unloaded.
            self._labels.settle(self._is_available)
            return self._lifecycle.reconcile()

    def _wait_for_models(self, names: Collection[str]) -> None:
        lifecycle = self._lifecycle

        def settled() -> bool:
            return self._stopping.is_set() or all(
                lifecycle.available(name, None) is not None or lifecycle.hopeless(name)
                for name in names
            )

        with self._changed:
            self._changed.wait_for(settled)
            failed = [name for name in sorted(names) if not lifecycle.available(name, None)]
            if failed:
                reasons = ", ".join(self._reason(name) for name in failed)
                raise ServingError(
                    Code.UNKNOWN,
                    f"{len(failed)} model(s) did not become available: {{{reasons}}}",
                )

    def _reason(self, name: str) -> str:
        versions = self._lifecycle.versions(name)
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
                    self._lifecycle.aspire(name, aspired, self._labels.stable(name))
