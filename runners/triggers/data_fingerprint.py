"""Fingerprint of the data files: by size and time first, by content only if those differ."""

import dataclasses
import hashlib
import os

from components.ingestion import files
from components.ingestion.sources import find_sources, fingerprint
from modules.contract.errors import DataError
from pipeline.config import Config


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Fingerprint of the files of ``data.path``.

    Attributes:
        digest: digest of their contents, 64 hex digits.
        stat: digest of their names, sizes and times, 64 hex digits.
        changed: time of the last change of any of them, seconds since 1970.
    """

    digest: str
    stat: str
    changed: float


def take(config: Config, known_stat: str | None, known_digest: str | None) -> Fingerprint:
    """Take the fingerprint; fast while sizes and times are unchanged.

    Args:
        config: gives ``data.path``.
        known_stat: ``Fingerprint.stat`` of the last poll.
        known_digest: ``Fingerprint.digest`` of the last poll.

    Raises:
        DataError: the data does not exist or cannot be read.
    """
    arguments = config.example_gen_arguments()
    sources = find_sources(arguments["paths"], arguments["data_format"])
    whole, changed = hashlib.sha256(), 0.0
    for path in (path for source in sources for path in source.paths()):
        size, time_ns = _stat(path)
        whole.update(repr((path, size, time_ns)).encode())
        changed = max(changed, time_ns / 1e9)
    stat = whole.hexdigest()
    if known_digest and stat == known_stat:
        return Fingerprint(known_digest, stat, changed)
    return Fingerprint(fingerprint(sources), stat, changed)


def _stat(path: str) -> tuple[int, int]:
    """Return size in bytes and modification time in ns, 0 if the store has none."""
    try:
        if not files.is_remote(path):
            status = os.stat(path)
            return status.st_size, status.st_mtime_ns
        from apache_beam.io.filesystems import FileSystems

        found = FileSystems.match([path])[0].metadata_list[0]
        return found.size_in_bytes, int((found.last_updated_in_seconds or 0) * 1e9)
    except (OSError, IndexError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
