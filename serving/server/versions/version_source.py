"""Discovery of the numbered versions in a model's base path."""

import logging
import os
import re
from collections.abc import Mapping

logger = logging.getLogger(__name__)

#: Leading zeros are allowed. A writer's temporary folder (``12.tmp``, ``_12``) does not match.
_VERSION = re.compile(r"[0-9]+", re.ASCII)
_GREATEST = 2**63 - 1


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
                "version %d is in two folders of %s; serving %s", number, base_path, name
            )
        versions[number] = os.path.join(base_path, name)
    return versions


def fingerprint(directory: str) -> tuple[int, ...]:
    """Return a value that changes when the folder is replaced, so that a failed load is retried."""
    numbers: list[int] = []
    for name in ("", "saved_model.pb", "variables"):
        try:
            status = os.stat(os.path.join(directory, name))
        except OSError:
            numbers.append(0)
        else:
            numbers += [status.st_ino, status.st_mtime_ns, status.st_size]
    return tuple(numbers)
