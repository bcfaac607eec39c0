"""Archives from the network or a disk: checked by digest, read without unpacking. Stdlib only."""

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

#: What ``urllib`` raises between a name that does not resolve and a connection that breaks off.
_NETWORK_ERRORS = (OSError, http.client.HTTPException)


def download(url: str, destination: Path, *, max_bytes: int, sha256: str) -> None:
    """Download a file of known digest; it appears whole and checked, or not at all.

    Args:
        url: where from.
        destination: where to; its folder exists.
        max_bytes: most that is read from the network.
        sha256: the file's digest, 64 hex digits.

    Raises:
        DataError: no way out to the network, or another file than expected.
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
                    f"{url} gave another file than expected (sha256 {digest.hexdigest()}, expected "
                    f"{sha256}); try again, or download it by other means and pass --from PATH"
                )
    except _NETWORK_ERRORS as error:
        raise DataError(
            f"{url} cannot be downloaded: {error}. On a machine without a way out, copy the "
            "archive here and pass --from PATH"
        ) from None


def check_digest(path: Path, sha256: str) -> None:
    """Refuse a file of another digest.

    Raises:
        DataError: the file cannot be read, or is another one.
    """
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}; --from takes the original archive"
        ) from None
    if found != sha256:
        raise DataError(
            f"{path} is not the archive expected: its sha256 is {found}, expected {sha256}"
        )


def archive_texts(
    path: Path, *, max_file_bytes: int, max_total_bytes: int
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each regular file of a tar archive, in the archive's order.

    Nothing is written to disk, so a member named ``../../x``, a link or a device can do no harm:
    names are only names here.

    Args:
        path: a tar archive, compressed or not.
        max_file_bytes: largest member that is read.
        max_total_bytes: most bytes that are read in all; what a small archive that unpacks to
            terabytes runs into.

    Raises:
        DataError: no tar archive, damaged, or over a limit.
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
