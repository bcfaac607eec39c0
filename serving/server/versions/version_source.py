"""Finds the numbered versions of a model in its base path."""

import logging
import os
import re
from collections.abc import Mapping

logger = logging.getLogger(__name__)

#: Whole numbers, leading zeros too. A writer's temporary folder (``12.tmp``, ``_12``) is none.
_VERSION = re.compile(r"[0-9]+", re.ASCII)
_GREATEST = 2**63 - 1


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
            names = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError as error:
        logger.warning("cannot read base path %s: %s", base_path, error.strerror)
        return {}
    versions: dict[int, str] = {}
    for name in names:
        if not _VERSION.fullmatch(name) or (number := int(name)) > _GREATEST:
            continue
        if number in versions:
            logger.warning(
                "version %d is in two folders of %s; %s is served", number, base_path, name
            )
        versions[number] = os.path.join(base_path, name)
    return versions


def fingerprint(directory: str) -> tuple[int, ...]:
    """Changes when the version in the folder is replaced: what failed is then tried again."""
    numbers: list[int] = []
    for name in ("", "saved_model.pb", "variables"):
        try:
            status = os.stat(os.path.join(directory, name))
        except OSError:
            numbers.append(0)
        else:
            numbers += [status.st_ino, status.st_mtime_ns, status.st_size]
    return tuple(numbers)
