"""Tar archives, verified by digest and read without unpacking. Standard library only."""

import hashlib
import http.client
import tarfile
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path

from modules.contract.atomic_file import whole_binary_file
from modules.contract.errors import DataError

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60

#: What ``urllib`` raises, from a host name that does not resolve to a broken connection.
_NETWORK_ERRORS = (OSError, http.client.HTTPException)


def download(url: str, destination: Path, *, max_bytes: int, sha256: str) -> None:
    """Download a file and verify its digest. Writes the complete file or nothing.

    Args:
        url: URL of the file.
        destination: path to write to, in an existing folder.
        max_bytes: maximum number of bytes to read from the network.
        sha256: expected SHA-256 of the file, 64 hex digits.

    Raises:
        DataError: the download failed, or the file has another digest.
    """
    digest = hashlib.sha256()
    try:
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response,
            whole_binary_file(destination) as target,
        ):
            left = max_bytes
            while left and (chunk := response.read(min(_CHUNK, left))):
                left -= len(chunk)
                digest.update(chunk)
                target.write(chunk)
            if digest.hexdigest() != sha256:
                raise DataError(
                    f"{url} returned another file than expected (SHA-256 {digest.hexdigest()}, not "
                    f"{sha256}); try again, or download it by other means and pass --from PATH"
                )
    except _NETWORK_ERRORS as error:
        raise DataError(
            f"{url} cannot be downloaded: {error}. On a machine without internet access, copy the "
            "archive here and pass --from PATH"
        ) from None


def check_digest(path: Path, sha256: str) -> None:
    """Check that a file has the expected digest.

    Raises:
        DataError: the file cannot be read, or has another digest.
    """
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}; pass the original archive with --from"
        ) from None
    if found != sha256:
        raise DataError(
            f"{path} is not the expected archive: its SHA-256 must be {sha256}, received {found}; "
            "pass the original archive with --from"
        )


def archive_texts(
    path: Path, *, max_file_bytes: int, max_total_bytes: int
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each regular file of a tar archive, in the archive's order.

    Nothing is written to disk, so that members such as ``../../x``, links and devices are harmless.

    Args:
        path: a tar archive, compressed or not.
        max_file_bytes: maximum size of a member.
        max_total_bytes: maximum size of all members, against archives that expand to terabytes.

    Raises:
        DataError: the file is not a tar archive, is damaged, or exceeds a limit.
    """
    total = 0
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if not member.isreg():
                    continue
                total += member.size
                if member.size > max_file_bytes or total > max_total_bytes:
                    raise DataError(
                        f"{path}: {member.name} is too large ({member.size} bytes, {total} in all; "
                        f"the limits are {max_file_bytes} and {max_total_bytes})"
                    )
                content = archive.extractfile(member)
                if content is not None:
                    yield member.name, content.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path} cannot be read as a tar archive: {error}") from None
