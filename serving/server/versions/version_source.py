"""Finds the numbered versions of a model in its base path."""

import logging
import os
from collections.abc import Mapping

from modules.contract.pushed_model import MODEL_FILE, names_by_version

logger = logging.getLogger(__name__)


def find_versions(base_path: str) -> Mapping[int, str]:
    """Folders of the base path that are named by a number.

    Args:
        base_path: folder of version folders.

    Returns:
        Path by version. Empty when there is none, or the base path is missing or unreadable:
        nothing that is served is unloaded for that.
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
            "version %d is in two folders of %s; %s is served", number, base_path, names[number]
        )
    return {number: os.path.join(base_path, name) for number, name in names.items()}


def fingerprint(directory: str) -> tuple[int, ...]:
    """Changes when the version in the folder is replaced: what failed is then tried again."""
    numbers: list[int] = []
    for name in ("", MODEL_FILE, "variables"):
        try:
            status = os.stat(os.path.join(directory, name))
        except OSError:
            numbers.append(0)
        else:
            numbers += [status.st_ino, status.st_mtime_ns, status.st_size]
    return tuple(numbers)
