"""State of one version in the manager, and what is to be done next with those of a model.

No threads in here: the manager's lock guards all of it.
"""

import dataclasses
import threading
from collections.abc import Collection, Mapping
from typing import Any

from serving.protocol.errors import Code
from serving.protocol.servable import Servable, State, VersionStatus


@dataclasses.dataclass(eq=False)
class ManagedVersion:
    """A version the manager has seen.

    Attributes:
        name: the model's.
        number: the version's.
        path: its folder.
        state: where it is in its life.
        code: why it ended, or why its last try failed.
        message: the same in words.
        servable: while it is loaded.
        pins: handles that are not released.
        failures: tries that failed.
        due: ``time.monotonic()`` at which it is to be tried; None while it is not to be.
        fingerprint: of the folder when it was tried last.
    """

    name: str
    number: int
    path: str
    state: State = State.START
    code: Code = Code.OK
    message: str = ""
    servable: Any = None
    pins: int = 0
    failures: int = 0
    due: float | None = 0.0
    fingerprint: tuple[int, ...] = ()

    @property
    def failed(self) -> bool:
        """It ended because it could not be loaded."""
        return self.state == State.END and self.code != Code.OK

    def enter(self, state: State, code: Code = Code.OK, message: str = "") -> None:
        """Go to a state."""
        self.state, self.code, self.message = state, code, message

    def status(self) -> VersionStatus:
        """As GetModelStatus reports it."""
        return VersionStatus(self.number, self.state, self.code, self.message)


def versions_to_unload(
    versions: Collection[ManagedVersion], aspired: Mapping[int, str]
) -> list[ManagedVersion]:
    """Versions that are served, no longer wanted, and not needed to stay available.

    The rule is TensorFlow Serving's (core/availability_preserving_policy.cc): while no wanted
    version is served, the newest of those that are served stays.

    Args:
        versions: of one model.
        aspired: folder by version that is wanted; empty unloads all.
    """
    served = [version for version in versions if version.state == State.AVAILABLE]
    unwanted = sorted(
        (version for version in served if version.number not in aspired),
        key=lambda version: version.number,
    )
    if aspired and len(unwanted) == len(served):
        return unwanted[:-1]
    return unwanted


def versions_to_start(
    versions: Mapping[int, ManagedVersion],
    aspired: Mapping[int, str],
    fingerprints: Mapping[int, tuple[int, ...]],
) -> list[int]:
    """Wanted versions that have to begin their life, newest first.

    They are new, or were unloaded, or failed and have changed on disk since.

    Args:
        versions: of one model, by number.
        aspired: folder by version that is wanted.
        fingerprints: of the folders, by version.
    """
    start = []
    for number in sorted(aspired, reverse=True):
        version = versions.get(number)
        if version is None or (
            version.state == State.END
            and (not version.failed or version.fingerprint != fingerprints.get(number))
        ):
            start.append(number)
    return start


class Handle:
    """A ``ServableHandle``.

    Args:
        version: available, and pinned by the caller.
        changed: the manager's lock.
    """

    __slots__ = ("_changed", "_released", "_version", "servable")

    def __init__(self, version: ManagedVersion, changed: threading.Condition) -> None:
        self.servable: Servable = version.servable
        self._version = version
        self._changed = changed
        self._released = False

    def release(self) -> None:
        """Let the version go. More than once does nothing."""
        with self._changed:
            if self._released:
                return
            self._released = True
            self._version.pins -= 1
            if self._version.pins == 0:
                self._changed.notify_all()

    def __enter__(self) -> Servable:
        return self.servable

    def __exit__(self, *error: object) -> None:
        self.release()
