"""Takes versions through their life: start, load, retry, available, drain, unload, end.

Availability comes first, as in TensorFlow Serving's AvailabilityPreservingPolicy: a new version is
loaded and warm before the old one goes, and one that fails never takes traffic.
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

#: Makes a version's servable (model, number, folder), or raises ``ServingError``.
Load = Callable[[str, int, str], Any]
_NEVER = float("inf")


class VersionLifecycle:
    """All versions of all models that were ever wanted. Thread-safe.

    Args:
        settings: of the server.
        load: makes servables.
        changed: guards everything in here, and is notified of every change.
        wake: called, without the lock, when ``reconcile`` has something to do.
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
        """Say which versions of a model are wanted; ``reconcile`` sees to it.

        Args:
            name: the model's.
            folders: by version.
            first: the version to load before newer ones.
        """
        with self._changed:
            self._aspired[name] = folders
            self._first[name] = first

    def versions(self, name: str) -> Mapping[int, ManagedVersion]:
        """Every version of a model ever seen, by number; to be read under ``changed``."""
        return self._versions.get(name, {})

    def available(self, name: str, number: int | None) -> ManagedVersion | None:
        """The version, or the newest, if it takes traffic."""
        versions = self.versions(name)
        if number is None:
            served = (each for each in versions.values() if each.state == State.AVAILABLE)
            return max(served, key=lambda each: each.number, default=None)
        version = versions.get(number)
        return version if version and version.state == State.AVAILABLE else None

    def is_coming(self, name: str, number: int) -> bool:
        """The version is waiting to be loaded, or is being loaded."""
        version = self.versions(name).get(number)
        return version is not None and version.state in (State.START, State.LOADING)

    def hopeless(self, name: str) -> bool:
        """No version of the model is served, or will be unless something changes on disk."""
        return all(version.failed for version in self.versions(name).values())

    def reconcile(self) -> float:
        """Begin what is due.

        Returns:
            When something is due next, on the monotonic clock.
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
        """Wait for the calls that run, and close every servable.

        Args:
            drain_seconds: how long to wait at most.
            stop_loading: makes loads that go on fail.
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
        """Newest first, but for the one that is to be first."""
        return version.number != self._first.get(version.name), -version.number

    def _try_to_load(self, version: ManagedVersion) -> None:
        """In the load pool: once."""
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
        self._wake()

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
        self._wake()
