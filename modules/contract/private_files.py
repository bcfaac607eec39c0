"""Files and folders that only their owner can read, for texts and keys. Standard library only."""

import errno
import os
from pathlib import Path

#: Permissions of a private file that is written, and of one that never changes.
PRIVATE_FILE, PRIVATE_READ_ONLY = 0o600, 0o400
_PRIVATE_FOLDER = 0o700


def make_private_folder(folder: str | os.PathLike[str]) -> None:
    """Create a folder and its missing parents for the owner only; existing ones do not change.

    Raises:
        OSError: the folder cannot be created.
    """
    path = Path(folder)
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(_PRIVATE_FOLDER, exist_ok=True)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def private_opener(path: str, flags: int) -> int:
    """Open a file, as an opener for ``open``; a new file is for the owner only."""
    return os.open(path, flags, PRIVATE_FILE)
