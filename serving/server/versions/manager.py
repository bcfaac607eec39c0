"""Model manager: reads the configuration, polls for versions, moves labels and pins versions."""

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
        settings: settings of the server.
        load: function that creates servables; None creates worker processes.
    """

    def __init__(self, settings: ServerSettings, load: Load | None = None) -> None:
        self._settings = settings
        self._loader = VersionLoader(settings, Observer()) if load is None else None
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
        #: Models as the operator has configured them.
        self._configured: Mapping[str, ModelConfig] = {}
        self._labels = Labels(settings.allow_version_labels_for_unavailable_models)
        self._reloading = threading.Lock()
        self._config_file_stamp: object = None
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        """Read the configuration, begin to load, and return at once.

        Raises:
            UserError: the configuration is invalid.
        """
        self._config_file_stamp = self._stamp_config_file()
        models = model_config.from_settings(self._settings)
        self._configured = models
        if self._loader is not None:
            self._loader.prepare()
        with self._changed:
            self._models = models
            self._labels.replace({name: model.labels for name, model in models.items()})
        if self._settings.file_system_poll_wait_seconds >= 0:
            self._poll_base_paths(models)
        self._watcher.start()

    def stop(self, drain_seconds: float = 0) -> None:
        """Refuse new calls, wait for running calls, and stop every worker.

        Args:
            drain_seconds: maximum time to wait for running calls.
        """
        self._stopping.set()
        self._wake.set()
        stop_loading = self._loader.stop if self._loader is not None else lambda: None
        self._lifecycle.stop(drain_seconds, stop_loading)
        if self._watcher.is_alive():
            self._watcher.join()

    def wait_until_ready(self, timeout_seconds: float) -> bool:
        """Wait until ``ready``; return whether it became true in time."""
        with self._changed:
            return self._changed.wait_for(self.ready, timeout_seconds)

    def acquire(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> ServableHandle:
        """Pin a version. See ``Models``.

        Raises:
            ServingError: ``NOT_FOUND``, ``INVALID_ARGUMENT`` for an unknown label, or
                ``UNAVAILABLE`` while the server is stopping.
        """
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
        """Return the status of every version seen so far. See ``Models``.

        Raises:
            ServingError: ``NOT_FOUND``: the model or version is unknown.
        """
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

    def reload(self, config: Any, deadline: float | None = None) -> None:
        """Replace the configuration by a ``ModelServerConfig``, and wait for new models.

        Args:
            config: the ``ModelServerConfig``. Base paths must be the operator's, or below them.
            deadline: ``time.monotonic()`` after which the caller does not wait; None for no limit.

        Raises:
            ServingError: the configuration is refused and nothing changes, or a new model cannot be
                served, or not before the deadline.
        """
        with self._reloading:
            if config.WhichOneof("config") is None:
                return  # as in TensorFlow Serving, an empty config has no effect
            models = model_config.from_proto(config)
            model_config.check_base_paths(models, self._configured)
            with self._changed:
                new = models.keys() - self._models.keys()
                labels = {name: model.labels for name, model in models.items()}
                self._labels.check(labels, new, self._is_available)
            self._apply(models)
        self._wait_for_models(new, deadline)

    def ready(self) -> bool:
        """Return whether every configured model has an available version with a live worker.

        While the version with the label ``STABLE`` is still to be loaded, another available version
        is not enough, because callers request the stable one. See ``Models``.
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
        """Replace the served models."""
        with self._changed:
            for name in self._models.keys() - models.keys():
                self._lifecycle.aspire(name, {})
            self._models = dict(models)
            self._labels.replace({name: model.labels for name, model in models.items()})
        self._poll_base_paths(models)
        self._reconcile()

    def _reconcile(self) -> float:
        """Start all due work; return the monotonic time at which the next is due."""
        with self._changed:
            # Labels first, so that none points to a version that is being unloaded.
            self._labels.settle(self._is_available)
            return self._lifecycle.reconcile()

    def _wait_for_models(self, names: Collection[str], deadline: float | None) -> None:
        lifecycle = self._lifecycle

        def settled() -> bool:
            return self._stopping.is_set() or all(
                name not in self._models  # another reload has removed it
                or lifecycle.available(name, None) is not None
                or lifecycle.hopeless(name)
                for name in names
            )

        with self._changed:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not self._changed.wait_for(settled, left):
                raise ServingError(
                    Code.DEADLINE_EXCEEDED,
                    "The deadline passed while new models were loading; they continue to load",
                )
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

    # The methods below run in the manager's thread.

    def _watch(self) -> None:
        """Poll versions and the config file when they are due, until the manager stops."""
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
            logger.error(
                "model_config_file is invalid; the configuration is left as it was: %s", error
            )
            return
        with self._reloading:
            self._configured = models
            self._apply(models)

    def _poll_base_paths(self, models: Mapping[str, ModelConfig]) -> None:
        for name, model in models.items():
            found = version_source.find_versions(model.base_path)
            wanted = model.policy.choose(found)
            if not wanted:
                continue  # keep what is served
            aspired = {number: found[number] for number in wanted}
            with self._changed:
                if name in self._models:
                    self._lifecycle.aspire(name, aspired, self._labels.stable(name))
