"""Discovery of the numbered versions in a model's base path."""

import logging
import os
from collections.abc import Mapping

from modules.contract.pushed_model import MODEL_FILE, names_by_version
from serving.protocol.errors import Code, ServingError

logger = logging.getLogger(__name__)


def find_versions(base_path: str) -> Mapping[int, str]:
    """Return the folders of a base path whose names are numbers.

    Args:
        base_path: folder that contains the version folders.

    Returns:
        Path by version. Empty if there are none, or if the base path is missing or unreadable,
        which must not unload the versions that are served.
    """
    try:
        with os.scandir(base_path) as entries:
            folders = {entry.name for entry in entries if entry.is_dir()}
    except OSError as error:
        logger.warning("cannot read base path %s: %s", base_path, error.strerror)
        return {}
    names = names_by_version(folders)
    for number in names_by_version(folders - set(names.values())):
        logger.warning(
            "version %d is in two folders of %s; serving %s", number, base_path, names[number]
        )
    return {number: os.path.join(base_path, name) for number, name in names.items()}


def check_files(directory: str) -> None:
    """Refuse a version with pipes, sockets or devices, whose reading may never end.

    Raises:
        ServingError: ``FAILED_PRECONDITION``: an entry is neither a folder nor a regular file, or a
            link to one.
    """
    waiting, seen = [directory], set()
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue  # links may form a loop
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        waiting.append(entry.path)
                    elif not entry.is_file() and os.path.exists(entry.path):
                        raise ServingError(
                            Code.FAILED_PRECONDITION,
                            f"{entry.path} is not a regular file; remove it from the version",
                        )
        except OSError:
            continue  # loading reports what cannot be read


def fingerprint(directory: str) -> tuple[int, ...]:
    """Return a value that changes when the folder is replaced, so that a failed load is retried."""
    numbers: list[int] = []
    for name in ("", MODEL_FILE, "variables"):
        try:
            status = os.stat(os.path.join(directory, name))
        except OSError:
            numbers.append(0)
        else:
            numbers += [status.st_ino, status.st_mtime_ns, status.st_size]
    return tuple(numbers)
