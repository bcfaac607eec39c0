"""State of a version in the manager, and the choice of versions to load and unload.

Nothing here is thread-safe: the manager's lock guards it.
"""

import dataclasses
import threading
from collections.abc import Collection, Mapping
from typing import Any

from serving.protocol.errors import Code
from serving.protocol.servable import Servable, State, VersionStatus


@dataclasses.dataclass(eq=False)
class ManagedVersion:
    """A version that the manager has seen.

    Attributes:
        name: name of the model.
        number: version number.
        path: folder of the version.
        state: state of the version.
        code: code of the error that ended it, or of its last failed load.
        message: reason for that error.
        servable: the servable while the version is loaded.
        pins: number of handles that are not released.
        failures: number of failed loads.
        due: ``time.monotonic()`` of the next attempt to load it; None if none is planned.
        fingerprint: fingerprint of the folder at the last attempt.
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
        """Whether the version ended because it could not be loaded."""
        return self.state == State.END and self.code != Code.OK

    def enter(self, state: State, code: Code = Code.OK, message: str = "") -> None:
        """Change the state."""
        self.state, self.code, self.message = state, code, message

    def status(self) -> VersionStatus:
        """Return the status that GetModelStatus reports."""
        return VersionStatus(self.number, self.state, self.code, self.message)


def versions_to_unload(
    versions: Collection[ManagedVersion], aspired: Mapping[int, str]
) -> list[ManagedVersion]:
    """Return the served versions to unload: no longer wanted, and not needed for availability.

    The rule is that of TensorFlow Serving (core/availability_preserving_policy.cc): while no wanted
    version is served, the newest served version stays.

    Args:
        versions: versions of one model.
        aspired: folders of the wanted versions by number; empty unloads all.
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
    """Return the wanted versions to start, newest first.

    These versions are new, or were unloaded, or failed and have changed on disk since.

    Args:
        versions: versions of one model, by number.
        aspired: folders of the wanted versions by number.
        fingerprints: fingerprints of the folders by version.
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
        version: an available version that the caller has pinned.
        changed: the manager's lock.
    """

    __slots__ = ("_changed", "_released", "_version", "servable")

    def __init__(self, version: ManagedVersion, changed: threading.Condition) -> None:
        self.servable: Servable = version.servable
        self._version = version
        self._changed = changed
        self._released = False

    def release(self) -> None:
        """Release the pin. Further calls have no effect."""
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
