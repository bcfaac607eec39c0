"""Life cycle of versions: start, load, retry, available, drain, unload, end.

Availability comes first, as in TensorFlow Serving's AvailabilityPreservingPolicy: an old version is
unloaded only when the new one is loaded and warm, and a version that fails never receives traffic.
"""

import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from serving.protocol.errors import Code, ServingError
from serving.protocol.servable import State
from serving.server.settings import ServerSettings
from serving.server.versions import managed_version, version_source
from serving.server.versions.managed_version import ManagedVersion

logger = logging.getLogger(__name__)

#: Function that creates a servable (model, number, folder), or raises ``ServingError``.
Load = Callable[[str, int, str], Any]
_NEVER = float("inf")


class VersionLifecycle:
    """All versions of all models that have been wanted so far. Thread-safe.

    Args:
        settings: settings of the server.
        load: function that creates servables.
        changed: lock that guards this object; it is notified of every change.
        wake: called without the lock when ``reconcile`` has work to do.
    """

    def __init__(
        self,
        settings: ServerSettings,
        load: Load,
        changed: threading.Condition,
        wake: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._load = load
        self._changed = changed
        self._wake = wake
        self._versions: dict[str, dict[int, ManagedVersion]] = {}
        self._aspired: dict[str, Mapping[int, str]] = {}
        self._first: dict[str, int | None] = {}
        self._stopping = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(
            settings.num_load_threads, thread_name_prefix="load"
        )

    def aspire(self, name: str, folders: Mapping[int, str], first: int | None = None) -> None:
        """Set the wanted versions of a model, which ``reconcile`` loads.

        Args:
            name: name of the model.
            folders: folder by version.
            first: version to load before newer ones.
        """
        with self._changed:
            self._aspired[name] = folders
            self._first[name] = first

    def versions(self, name: str) -> Mapping[int, ManagedVersion]:
        """Return every version of a model seen so far, by number; read it under ``changed``."""
        return self._versions.get(name, {})

    def available(self, name: str, number: int | None) -> ManagedVersion | None:
        """Return the version, or the newest for None, if it receives traffic; else None."""
        versions = self.versions(name)
        if number is None:
            served = (each for each in versions.values() if each.state == State.AVAILABLE)
            return max(served, key=lambda each: each.number, default=None)
        version = versions.get(number)
        return version if version and version.state == State.AVAILABLE else None

    def is_coming(self, name: str, number: int) -> bool:
        """Return whether the version is waiting to be loaded, or is being loaded."""
        version = self.versions(name).get(number)
        return version is not None and version.state in (State.START, State.LOADING)

    def hopeless(self, name: str) -> bool:
        """Return whether all versions have failed, so that only a change on disk can help."""
        return all(version.failed for version in self.versions(name).values())

    def reconcile(self) -> float:
        """Start all due loads and unloads.

        Returns:
            The monotonic time at which the next load is due.
        """
        with self._changed:
            if self._stopping.is_set():
                return _NEVER
            for name, aspired in self._aspired.items():
                versions = self._versions.setdefault(name, {})
                self._start_wanted(name, versions, aspired)
                for version in managed_version.versions_to_unload(versions.values(), aspired):
                    self._begin_unload(version)
            return self._submit_due()

    def stop(self, drain_seconds: float, stop_loading: Callable[[], None]) -> None:
        """Wait for running calls, and close every servable.

        Args:
            drain_seconds: maximum time to wait.
            stop_loading: function that makes running loads fail.
        """
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
            versions = [each for model in self._versions.values() for each in model.values()]
            self._changed.wait_for(
                lambda: not any(version.pins for version in versions), drain_seconds
            )
        self._pool.shutdown(wait=False, cancel_futures=True)
        stop_loading()
        self._pool.shutdown(wait=True)
        for version in versions:
            if version.servable is not None:
                version.servable.close()

    def _start_wanted(
        self, name: str, versions: dict[int, ManagedVersion], aspired: Mapping[int, str]
    ) -> None:
        for version in versions.values():
            if version.number not in aspired and version.due is not None:
                version.due = None  # no longer wanted
                version.enter(State.END)
        failed = {
            number: version_source.fingerprint(path)
            for number, path in aspired.items()
            if number in versions and versions[number].failed
        }
        for number in managed_version.versions_to_start(versions, aspired, failed):
            versions[number] = ManagedVersion(name, number, aspired[number])

    def _submit_due(self) -> float:
        now, next_due = time.monotonic(), _NEVER
        everything = (each for model in self._versions.values() for each in model.values())
        for version in sorted(everything, key=self._load_order):
            if version.due is None:
                continue
            if version.due > now:
                next_due = min(next_due, version.due)
                continue
            version.due = None
            self._pool.submit(self._try_to_load, version)
        self._changed.notify_all()
        return next_due

    def _load_order(self, version: ManagedVersion) -> tuple[bool, int]:
        """Return the sort key: the preferred version, then the newest."""
        return version.number != self._first.get(version.name), -version.number

    def _try_to_load(self, version: ManagedVersion) -> None:
        """Load the version once, in the load pool."""
        with self._changed:
            if version.number not in self._aspired[version.name]:
                version.enter(State.END)  # no longer wanted
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
        self._wake()

    def _load_failed(self, version: ManagedVersion, error: ServingError) -> None:
        logger.error("cannot load %s/%d: %s", version.name, version.number, error.message)
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
        """Wait for running calls, then stop the worker, in a thread of its own."""
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
        self._wake()
