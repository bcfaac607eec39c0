"""Reader for CSV and TSV (RFC 4180) that reports every row, with its line. Standard library only.

The ``csv`` module does the parsing. This module adds what it lacks: the physical line on which a
record starts, a distinction between valid and invalid UTF-8, a memory limit for records of any
length, and recovery from broken quotes, which cost one bad row instead of the rest of the file.
"""

import csv
import io
from collections.abc import Iterator, Sequence

from components.ingestion.columns import find_columns
from components.ingestion.rows import EXCERPT_CHARACTERS, BadRow, Columns, RawRow, Reason, excerpt
from modules.contract.errors import DataError

DELIMITERS = (",", "\t", ";", "|")

_UTF32_MARKS = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_csv(
    stream: io.BufferedReader,
    columns: Columns,
    *,
    source: str,
    max_text_bytes: int,
    delimiter: str = "",
) -> Iterator[RawRow | BadRow]:
    """Read rows in file order. The first record is the header; blank lines are skipped.

    Args:
        stream: the file's bytes, decompressed, UTF-8 with or without a byte order mark; lines end
            in LF, CRLF or CR.
        columns: what to take from each record, by header name.
        source: the file's name, for errors.
        max_text_bytes: longest legal text, in bytes. A record over four times as long is not kept
            in memory.
        delimiter: one character; empty: the one of ``DELIMITERS`` with which the header yields
            the most configured columns.

    Yields:
        ``RawRow`` or ``BadRow`` for every record after the header.

    Raises:
        DataError: the file has no header, the header lacks a column, or the file is UTF-16 or
            UTF-32.
    """
    text = _decoded(stream, source)
    try:
        lines = _PhysicalLines(text, limit=max(4 * max_text_bytes, 1 << 20))
        header = _read_header(lines, columns, source, delimiter)
        yield from _records(lines, header)
    finally:
        text.detach()  # The caller closes the stream.


def _records(lines: "_PhysicalLines", header: "_Header") -> Iterator[RawRow | BadRow]:
    width = len(header.names)
    records = csv.reader(lines, delimiter=header.delimiter, strict=True)
    while True:
        lines.begin_record()
        try:
            fields = next(records, None)
        except csv.Error as error:
            yield _broken_record(lines, error)
            continue
        except _RecordTooLongError:
            yield _long_record(lines)
            continue
        if fields is None:
            return
        if not fields:
            continue
        if len(fields) != width:
            detail = f"{len(fields)} fields, the header has {width}"
            yield BadRow(lines.start, Reason.WRONG_FIELD_COUNT, excerpt(*fields), detail)
            continue
        yield RawRow(
            lines.start,
            fields[header.text],
            fields[header.label],
            tuple(None if index is None else fields[index] for index in header.slices),
        )


def _broken_record(lines: "_PhysicalLines", error: csv.Error) -> BadRow:
    if lines.exhausted:
        count = lines.number - lines.start + 1
        detail = f"a quote opened here is never closed; {count} lines up to the end of the file"
        return BadRow(
            lines.start, Reason.UNCLOSED_QUOTE, excerpt(lines.beginning), detail, rows=count
        )
    return BadRow(lines.start, Reason.MALFORMED_QUOTES, excerpt(lines.beginning), str(error))


def _long_record(lines: "_PhysicalLines") -> BadRow:
    if lines.skip_record():
        return BadRow(
            lines.start,
            Reason.ROW_TOO_LONG,
            excerpt(lines.beginning),
            f"{lines.characters} characters, lines {lines.start} to {lines.number}",
        )
    return _broken_record(lines, csv.Error())


class _RecordTooLongError(Exception):
    pass


class _PhysicalLines:
    """Iterator over physical lines that tracks where the current record starts and its length."""

    def __init__(self, stream: io.TextIOBase, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self.number = 0
        self.exhausted = False
        self.begin_record()
        # The limit is global to the csv module, so raise it here but never lower it.
        csv.field_size_limit(max(csv.field_size_limit(), limit + 1))

    def begin_record(self) -> None:
        self.start = self.number + 1
        self.characters = 0
        self.beginning = ""
        self._quoted = False
        self._line_is_cut = False

    def __iter__(self) -> "_PhysicalLines":
        return self

    def __next__(self) -> str:
        line = self._stream.readline(self._limit + 1)
        if not line:
            self.exhausted = True
            raise StopIteration
        # csv reads a second line only when a quote is open.
        self._quoted = self.number >= self.start
        self.number += 1
        if len(self.beginning) < EXCERPT_CHARACTERS:
            self.beginning += line[:EXCERPT_CHARACTERS]
        self.characters += len(line)
        if self.characters > self._limit:
            self._toggle(line)
            self._line_is_cut = not line.endswith(("\n", "\r"))
            raise _RecordTooLongError
        return line

    def skip_record(self) -> bool:
        """Skip the rest of a record that is too long; return False if its quote never closes."""
        while self._quoted or self._line_is_cut:
            piece = self._stream.readline(self._limit + 1)
            if not piece:
                self.exhausted = True
                return not self._quoted
            self.number += not self._line_is_cut
            self.characters += len(piece)
            self._toggle(piece)
            self._line_is_cut = not piece.endswith(("\n", "\r"))
        return True

    def _toggle(self, piece: str) -> None:
        # A doubled quote inside quotes toggles twice and so changes nothing.
        self._quoted ^= piece.count('"') % 2 == 1


class _Header:
    def __init__(self, names: Sequence[str], delimiter: str) -> None:
        # Tools that add a byte order mark to a file that already has one leave the second in the
        # first column's name.
        self.names = [name.strip().strip("\ufeff") for name in names]
        self.delimiter = delimiter
        self.text = self.label = -1
        self.slices: tuple[int | None, ...] = ()


def _decoded(stream: io.BufferedReader, source: str) -> io.TextIOWrapper:
    if encoding := _wide_encoding(stream.peek(64)[:64]):
        raise DataError(
            f"{source} is {encoding}; only UTF-8 is supported. Convert it first: "
            f"iconv -f {encoding} -t UTF-8 {source} > utf8.csv"
        )
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _wide_encoding(beginning: bytes) -> str:
    """Return the encoding if it is UTF-16 or UTF-32; "" for any other."""
    if beginning[:4] in _UTF32_MARKS:
        return "UTF-32"
    if beginning[:2] in _UTF16_MARKS:
        return "UTF-16"
    # Without a mark, every other byte of an ASCII header is NUL.
    for name, nul, other in (
        ("UTF-16LE", beginning[1::2], beginning[::2]),
        ("UTF-16BE", beginning[::2], beginning[1::2]),
    ):
        if len(nul) > 3 and not any(nul) and all(other):
            return name
    return ""


def _read_header(lines: _PhysicalLines, columns: Columns, source: str, delimiter: str) -> _Header:
    physical: list[str] = []

    def recorded() -> Iterator[str]:
        for line in lines:
            physical.append(line)
            yield line

    # Any delimiter finds the same end of the record: only quotes extend one past a line.
    try:
        records = csv.reader(recorded(), strict=True)
        first = next((fields for fields in records if fields), None)
    except (csv.Error, _RecordTooLongError):
        message = f"{source}: the first line cannot be read as CSV; it must name the columns"
        raise DataError(f"{message}, e.g. text,label") from None
    if first is None:
        raise DataError(f"{source} is empty; its first line must name the columns, e.g. text,label")
    header_lines = [line for line in physical if line.strip()]
    candidates = [delimiter] if delimiter else list(DELIMITERS)
    parsed = [
        _Header(next(csv.reader(header_lines, delimiter=candidate)), candidate)
        for candidate in candidates
    ]
    wanted = {columns.text, columns.label, *columns.slices}
    header = max(parsed, key=lambda each: (len(wanted & set(each.names)), len(each.names)))
    found = find_columns(header.names, columns, source=source)
    header.text, header.label, header.slices = found
    return header
