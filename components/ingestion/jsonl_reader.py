"""Reader for JSON Lines: one JSON object per line, UTF-8. Standard library only."""

import io
import itertools
import json
import re
from collections.abc import Iterator

from components.ingestion.columns import missing_column
from components.ingestion.rows import BadRow, Columns, RawRow, Reason, excerpt
from modules.contract.errors import DataError

#: The beginning of a JSON array of objects, which is not JSON Lines.
_ARRAY = re.compile(r"\s*\[\s*({|\\n|$)")
#: If none of this many first objects has the text or label key, the key counts as misnamed.
_PROBED_OBJECTS = 20


def read_jsonl(
    stream: io.BufferedReader, columns: Columns, *, source: str, max_text_bytes: int
) -> Iterator[RawRow | BadRow]:
    """Read rows in file order. Blank lines are skipped; a missing key reads as null.

    Args:
        stream: the file's bytes, decompressed, UTF-8 with or without a byte order mark.
        columns: the keys to take from each object.
        source: the file's name, for errors.
        max_text_bytes: longest legal text, in bytes. A line over eight times as long (an escape
            takes up to six bytes for one) is not kept in memory.

    Yields:
        ``RawRow`` or ``BadRow`` for every line that is not blank.

    Raises:
        DataError: the file is one JSON array, or none of the first objects has the text key or
            none has the label key.
    """
    limit = max(8 * max_text_bytes, 1 << 20)
    rows = (_parse(number, line, columns) for number, line in _lines(stream, limit))
    head = list(itertools.islice(rows, _PROBED_OBJECTS))
    if head and isinstance(head[0], BadRow) and _ARRAY.match(head[0].excerpt):
        raise DataError(
            f"{source} is one JSON array; JSON Lines has one object per line. Convert it first: "
            f"jq -c '.[]' {source} > rows.jsonl"
        )
    objects = [row for row in head if isinstance(row, tuple)]
    for name, key in ((columns.text, "data.text_column"), (columns.label, "data.label_column")):
        if objects and not any(name in found for _, found in objects):
            keys = list(dict.fromkeys(key for _, found in objects for key in found))
            raise DataError(missing_column(keys, name, key, source))
    for row in itertools.chain(head, rows):
        yield row if isinstance(row, BadRow) else _raw_row(*row, columns)


def _raw_row(number: int, found: dict[str, object], columns: Columns) -> RawRow:
    slices = tuple(found.get(name) for name in columns.slices)
    return RawRow(number, found.get(columns.text), found.get(columns.label), slices)


def _lines(stream: io.BufferedReader, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield number and bytes of each line that is not blank; None for a line over the limit."""
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > limit:
            while line and not line.endswith(b"\n"):
                line = stream.readline(limit + 1)
            yield number, None
        elif line.strip():
            yield number, line


def _parse(
    number: int, line: bytes | None, columns: Columns
) -> BadRow | tuple[int, dict[str, object]]:
    if line is None:
        return BadRow(number, Reason.ROW_TOO_LONG, "")
    try:
        found = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BadRow(number, Reason.NOT_UTF8, excerpt(line), f"at byte {error.start}")
    except (ValueError, RecursionError) as error:
        detail = str(error) or type(error).__name__
        return BadRow(number, Reason.MALFORMED_JSON, excerpt(line), detail[:200])
    if not isinstance(found, dict):
        detail = f"expected a JSON object, got {type(found).__name__}"
        return BadRow(number, Reason.MALFORMED_JSON, excerpt(line), detail)
    return number, found
