"""Keeps the configured models served: watches, loads, warms, flips, drains, unloads."""

from collections.abc import Sequence
from typing import Any

from serving.servable import ServableHandle, VersionStatus
from serving.settings import ServerSettings


class ModelManager:
    """``serving.servable.Models`` over worker processes.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings

    def start(self) -> None:
        """Read the configuration and begin to load; returns at once.

        Raises:
            UserError: the configuration is wrong.
        """
        raise NotImplementedError

    def stop(self, drain_seconds: float = 0) -> None:
        """Refuse new calls, wait for those that run, end every worker."""
        raise NotImplementedError

    def wait_until_ready(self, timeout_seconds: float) -> bool:
        """Whether ``ready`` came true in time."""
        raise NotImplementedError

    def acquire(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> ServableHandle:
        """Pin a version. See ``Models``."""
        raise NotImplementedError

    def statuses(self, name: str, version: int | None = None) -> Sequence[VersionStatus]:
        """Every version ever seen. See ``Models``."""
        raise NotImplementedError

    def label_version(self, name: str, label: str) -> int:
        """The version that a label points at. See ``Models``."""
        raise NotImplementedError

    def reload(self, config: Any) -> None:
        """Serve what a ``ModelServerConfig`` says from now on. See ``Models``."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Every configured model has an available version. See ``Models``."""
        raise NotImplementedError
