"""Texts to classify: words of the command line, then the lines of a file, one at a time."""

import contextlib
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from modules.errors import UserError

STANDARD_INPUT = "-"


def read_texts(texts: Sequence[str], file: str | None) -> Iterator[str]:
    """The texts of the command line, and those of the file as it is read; empty lines left out.

    Args:
        texts: from the command line.
        file: one text a line, UTF-8; ``-`` is standard input.

    Raises:
        UserError: there is none, at once; or the file cannot be read, when that comes to light.
    """
    lines = itertools.chain(texts, _lines(file) if file is not None else ())
    first = next(lines, None)
    if first is None:
        raise UserError('nothing to classify; `bert predict "some text"` or --file FILE')
    return itertools.chain([first], lines)


def _lines(file: str) -> Iterator[str]:
    try:
        with _opened(file) as stream:
            for line in stream:
                if line.strip():
                    yield line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--file {file} cannot be read as UTF-8 text: {error}") from error


def _opened(file: str) -> contextlib.AbstractContextManager[TextIO]:
    if file == STANDARD_INPUT:
        return contextlib.nullcontext(sys.stdin)
    return open(file, encoding="utf-8")
