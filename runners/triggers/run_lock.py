"""One triggered run at a time: a lock that dies with the run, not with the watcher.

The watcher takes the lock and the run's process inherits the open file. The kernel drops the lock
when the last process that has it open is gone, however it ends.
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Self

from modules.contract.errors import UserError

_NAME = "run.lock"
#: Another watcher that only polls has the lock for an instant; a run has it for long.
_TRIES = 5
_PAUSE_SECONDS = 0.02


class RunLock:
    """The lock, held. Never unlock it: that would take it from the run as well; close it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def acquire(cls, folder: Path) -> Self | None:
        """Take the lock; None when a run, or another watcher that starts one, has it.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UserError(
                f"pipeline.root: {folder} cannot be written ({error.strerror}); choose another: "
                "--set pipeline.root=PATH"
            ) from error
        for _ in range(_TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return cls(descriptor)
            time.sleep(_PAUSE_SECONDS)
        os.close(descriptor)
        return None

    def close(self) -> None:
        """Let go; a run that has inherited the lock keeps it."""
        os.close(self.descriptor)


def held(folder: Path) -> bool:
    """Whether a run, or a watcher that starts one, has the lock."""
    return _is_locked(folder / _NAME)


def root_in_use(root: str) -> bool:
    """Whether some run uses the pipeline's root; ``runners.local.run`` locks it."""
    return _is_locked(Path(root) / ".lock")


def _is_locked(path: Path) -> bool:
    """Try a shared lock, so that two that poll do not see each other."""
    with contextlib.suppress(FileNotFoundError), open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
