"""Texts to classify: the arguments of the command line, then the lines of a file."""

import contextlib
import itertools
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO, TextIO

from modules.contract.errors import UserError

STANDARD_INPUT = "-"


class Position:
    """Reading position in a file."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._size = 0

    def follow(self, stream: TextIO) -> None:
        """Follow a file that is about to be read; ignore one without a size, such as a pipe."""
        with contextlib.suppress(OSError):
            status = os.fstat(stream.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size:
                self._file, self._size = stream.buffer, status.st_size

    def share(self) -> float | None:
        """Return the share that was read, 0 to 1; None if unknown."""
        if self._file is None or self._file.closed:
            return None
        return min(1.0, self._file.tell() / self._size)


def read_texts(
    texts: Sequence[str], file: str | None, position: Position | None = None
) -> Iterator[str]:
    """Return the texts of the command line, then those of the file as it is read.

    Empty lines are skipped.

    Args:
        texts: texts from the command line.
        file: file with one text per line, UTF-8; ``-`` is standard input.
        position: follows the file.

    Raises:
        UserError: there are no texts. Also while iterating: the file cannot be read.
    """
    lines = itertools.chain(texts, _lines(file, position or Position()) if file is not None else ())
    first = next(lines, None)
    if first is None:
        raise UserError(
            'nothing to classify; give a text (`bert predict "some text"`) or --file FILE'
        )
    return itertools.chain([first], lines)


def _lines(file: str, position: Position) -> Iterator[str]:
    try:
        with _opened(file) as stream:
            position.follow(stream)
            for line in stream:
                if line.strip():
                    yield line.rstrip("\r\n")
    except OSError as error:
        raise UserError(f"--file {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--file {file} cannot be read as UTF-8 text: {error}") from error


def _opened(file: str) -> contextlib.AbstractContextManager[TextIO]:
    if file == STANDARD_INPUT:
        return contextlib.nullcontext(sys.stdin)
    return open(file, encoding="utf-8")
