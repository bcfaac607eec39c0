"""Atomic file replacement: a reader sees the old content or the new, never a part. Stdlib only."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

_ANYONE = 0o666


def write_text(path: str | os.PathLike[str], text: str, mode: int = _ANYONE) -> None:
    """Replace a file by UTF-8 text as ``whole_binary_file`` does; newlines are not translated.

    Raises:
        OSError: the file cannot be written.
    """
    write_bytes(path, text.encode("utf-8"), mode)


def write_bytes(path: str | os.PathLike[str], data: bytes, mode: int = _ANYONE) -> None:
    """Replace a file by bytes as ``whole_binary_file`` does.

    Raises:
        OSError: the file cannot be written.
    """
    with whole_binary_file(path, mode) as file:
        file.write(data)


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a UTF-8 text file as ``whole_binary_file`` does; newlines are not translated.

    Raises:
        OSError: the file cannot be written.
    """
    with whole_binary_file(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        yield text
        text.detach()


@contextlib.contextmanager
def whole_binary_file(
    path: str | os.PathLike[str],
    mode: int = _ANYONE,
    *,
    aside: str | os.PathLike[str] | None = None,
) -> Iterator[BinaryIO]:
    """Open a file to write that replaces ``path`` when the block ends without an error.

    The content is written aside, synced to disk and renamed over ``path``, and the folder is
    synced. On an error the partial file is removed and ``path`` stays as it was.

    Args:
        path: the file to create or replace; parent folders are created.
        mode: its permissions, less the umask.
        aside: where to write meanwhile, in the same file system; None is a new name in the folder.
            A fixed name makes the next write reuse what a killed process left, and allows one
            writer at a time.

    Raises:
        OSError: the file cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(aside or target.with_name(f".{target.name}.{os.urandom(8).hex()}"))
    try:
        with open(
            partial, "wb" if aside else "xb", opener=lambda name, flags: os.open(name, flags, mode)
        ) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make the renames in a folder survive a loss of power.

    Raises:
        OSError: the folder cannot be synced.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
