"""File access with one interface for local and remote paths.

Local paths need only the standard library. Paths with a scheme (``gs://``, ``s3://``, ``hdfs://``)
go through Beam's file systems, which are loaded lazily.
"""

import contextlib
import errno
import glob
import gzip
import io
import os
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

from modules.contract.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"
_LAYERS = 3


def is_remote(path: str) -> bool:
    """Return whether the path names a file system other than the local one."""
    return "://" in path


def _remote() -> Any:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def join(folder: str, name: str) -> str:
    """Return the path of a name in a folder."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, name)


def base_name(path: str) -> str:
    """Return the last part of a path."""
    return os.path.basename(path.rstrip("/"))


def one_name(path: str) -> str:
    """Return the canonical path of a file, so that a file reached by several paths counts once."""
    return path if is_remote(path) else os.path.realpath(path)


def exists(path: str) -> bool:
    """Return whether a file or folder with this path exists."""
    if is_remote(path):
        return bool(_remote().exists(path)) or is_folder(path)
    return os.path.exists(path)


def is_folder(path: str) -> bool:
    """Return whether the path is a folder; on an object store, whether any object is under it."""
    if is_remote(path):
        pattern = path.rstrip("/") + "/**"
        return bool(_remote().match([pattern], limits=[1])[0].metadata_list)
    return os.path.isdir(path)


def list_folder(path: str) -> list[str]:
    """Return the names of the files and folders directly in a folder, sorted."""
    if not is_remote(path):
        return sorted(os.listdir(path))
    prefix = path.rstrip("/") + "/"
    found = _remote().match([prefix + "**"])[0].metadata_list
    return sorted({entry.path.removeprefix(prefix).split("/", 1)[0] for entry in found})


def match(pattern: str) -> list[str]:
    """Return the paths that match a glob pattern, sorted; ``**`` crosses folders."""
    if is_remote(pattern):
        return sorted(entry.path for entry in _remote().match([pattern])[0].metadata_list)
    return sorted(glob.glob(pattern, recursive=True))


def size(path: str) -> int:
    """Return a file's stored size in bytes, before decompression."""
    if is_remote(path):
        return int(_remote().match([path])[0].metadata_list[0].size_in_bytes)
    return os.path.getsize(path)


def is_local_folder(path: str) -> bool:
    """Return whether the path is a local folder, or a link to one."""
    return not is_remote(path) and os.path.isdir(path)


def is_special(path: str) -> bool:
    """Return whether the path is a FIFO, a socket or a device, or a link to one."""
    if is_remote(path):
        return False
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def leaves_folder(path: str, folder: str) -> bool:
    """Return whether a link makes a path in a folder lead out of it."""
    if is_remote(path):
        return False
    inside = os.path.join(os.path.realpath(folder), "")
    return not os.path.join(os.path.realpath(path), "").startswith(inside)


def open_raw(path: str) -> BinaryIO:
    """Open a file for reading its stored bytes, without decompression.

    Raises:
        OSError: the file does not exist, cannot be read, or is not a regular file: reading a FIFO
            or a device may never end.
    """
    if is_remote(path):
        from apache_beam.io.filesystem import CompressionTypes

        stream: BinaryIO = _remote().open(path, compression_type=CompressionTypes.UNCOMPRESSED)
        return stream
    return open(path, "rb", opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    if is_special(path):
        raise OSError(errno.EINVAL, "not a regular file", path)
    # A FIFO that has replaced the file since then opens at once and is at its end.
    return os.open(path, flags | os.O_NONBLOCK)


@contextlib.contextmanager
def open_binary(path: str) -> Iterator[io.BufferedReader]:
    """Open a file for reading, decompressed if its first bytes (not its name) say gzip.

    A file that was compressed twice, by a tool and again on upload, is decompressed twice.
    """
    with contextlib.ExitStack() as opened:
        stream = _buffered(opened.enter_context(open_raw(path)))
        for _ in range(_LAYERS):
            if stream.peek(2)[:2] != _GZIP_MAGIC:
                break
            stream = _buffered(opened.enter_context(gzip.GzipFile(fileobj=stream, mode="rb")))
        yield stream


def _buffered(stream: Any) -> io.BufferedReader:
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)


_SIGNATURES = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet; unpack it, or save the sheet as CSV",
    b"PAR1": "a Parquet file; name it .parquet or set data.format=parquet",
    b"BZh": "compressed by bzip2; unpack it first: bunzip2",
    b"\xfd7zXZ\x00": "compressed by xz; unpack it first: unxz",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard; unpack it first: unzstd",
    b"\x1f\x8b": "compressed by gzip more than three times; unpack it first: gunzip",
    b"SQLite format 3\x00": "an SQLite database; export the table as CSV",
    b"%PDF-": "a PDF document; data must be CSV, JSON Lines or Parquet",
}


def refuse_binary(stream: io.BufferedReader, source: str) -> None:
    """Refuse a binary file, which cannot be CSV or JSON Lines.

    Args:
        stream: the decompressed file, at its start; the position does not change.
        source: the file's name, for errors.

    Raises:
        DataError: the file is binary; the message says what it is and what to do.
    """
    beginning = stream.peek(16)[:16]
    for signature, meaning in _SIGNATURES.items():
        if beginning.startswith(signature):
            raise DataError(f"{source} is {meaning}")
