"""Local and remote files under one set of names.

Local paths need the standard library alone. A path with a scheme (``gs://``, ``s3://``, ``hdfs://``)
goes to Beam's file systems, which are imported only then.
"""

import contextlib
import glob
import gzip
import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from modules.contract.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"
_LAYERS = 3


def is_remote(path: str) -> bool:
    """Whether the path names a file system other than the local one."""
    return "://" in path


def _remote() -> Any:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def join(folder: str, name: str) -> str:
    """Return the path of a name within a folder."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, name)


def base_name(path: str) -> str:
    """Return the last part of a path."""
    return os.path.basename(path.rstrip("/"))


def one_name(path: str) -> str:
    """Return the one name of a file that may be reached by several."""
    return path if is_remote(path) else os.path.realpath(path)


def exists(path: str) -> bool:
    """Whether there is a file or folder of this path."""
    if is_remote(path):
        return bool(_remote().exists(path)) or is_folder(path)
    return os.path.exists(path)


def is_folder(path: str) -> bool:
    """Whether the path is a folder; on an object store, whether anything lies under it."""
    if is_remote(path):
        pattern = path.rstrip("/") + "/**"
        return bool(_remote().match([pattern], limits=[1])[0].metadata_list)
    return os.path.isdir(path)


def list_folder(path: str) -> list[str]:
    """Return the names of the files and folders right under a folder, sorted."""
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
    """Return a file's size in bytes as it lies on disk."""
    if is_remote(path):
        return int(_remote().match([path])[0].metadata_list[0].size_in_bytes)
    return os.path.getsize(path)


def open_raw(path: str) -> BinaryIO:
    """Open a file's bytes as they lie on disk."""
    if is_remote(path):
        from apache_beam.io.filesystem import CompressionTypes

        stream: BinaryIO = _remote().open(path, compression_type=CompressionTypes.UNCOMPRESSED)
        return stream
    return open(path, "rb")


@contextlib.contextmanager
def open_binary(path: str) -> Iterator[io.BufferedReader]:
    """Open a file's bytes, decompressed if it is gzip, which its first bytes say, not its name.

    A file that was packed twice, by a tool and again on upload, is unpacked twice.
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
    """Refuse what cannot be CSV or JSON Lines.

    Args:
        stream: the file, decompressed, at its start, where it stays.
        source: the file's name, for errors.

    Raises:
        DataError: says what the file is and what to do.
    """
    beginning = stream.peek(16)[:16]
    for signature, meaning in _SIGNATURES.items():
        if beginning.startswith(signature):
            raise DataError(f"{source} is {meaning}")
