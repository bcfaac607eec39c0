"""Lock that allows one triggered run at a time, held by the run and not by the watcher.

The watcher acquires the lock and the run's process inherits the open file. The kernel releases the
lock when the last process that has the file open has ended, in whatever way.
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Self

from modules.contract.errors import UserError
from modules.contract.private_files import make_private_folder

_NAME = "run.lock"
#: Another watcher that only polls holds the lock for an instant, so retry before giving up.
_TRIES = 5
_PAUSE_SECONDS = 0.02


class RunLock:
    """A held lock. Close it, never unlock it: unlocking would release the run's lock as well."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def acquire(cls, folder: Path) -> Self | None:
        """Acquire the lock; return None if a run, or a watcher that is starting one, holds it.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            make_private_folder(folder)
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
        """Close the file; a run that has inherited the lock keeps it."""
        os.close(self.descriptor)


def held(folder: Path) -> bool:
    """Return whether a run, or a watcher that is starting one, holds the lock."""
    return _is_locked(folder / _NAME)


def root_in_use(root: str) -> bool:
    """Return whether a run is using the pipeline root, which ``runners.local.run`` locks."""
    return _is_locked(Path(root) / ".lock")


def _is_locked(path: Path) -> bool:
    """Try a shared lock, so that two checks at once do not detect each other."""
    with contextlib.suppress(FileNotFoundError), open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
