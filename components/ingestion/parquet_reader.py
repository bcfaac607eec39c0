"""Reader for Parquet. pyarrow is loaded lazily."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from components.ingestion.columns import find_columns
from components.ingestion.rows import Columns, RawRow
from modules.contract.errors import DataError

_BATCH_ROWS = 1024


def read_parquet(stream: BinaryIO, columns: Columns, *, source: str) -> Iterator[RawRow]:
    """Read rows in file order, a batch at a time.

    Args:
        stream: the file's bytes, seekable.
        columns: what to take from each row.
        source: the file's name, for errors.

    Yields:
        One row for each row of the file, numbered from 1. Strings come as ``bytes``: Parquet does
        not guarantee valid UTF-8, so decoding is left to the row check.

    Raises:
        DataError: the file is not valid Parquet, a column is absent, or the text column does not
            hold strings.
    """
    from components.ingestion.arrow import pa

    table = _opened(stream, source)
    schema = table.schema_arrow
    find_columns(schema.names, columns, source=source)
    _check_text_type(schema.field(columns.text).type, columns.text, source)
    wanted = [columns.text, columns.label, *columns.slices]
    number = 0
    try:
        for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
            values = [_values(batch.column(name)) for name in wanted]
            for text, label, *slices in zip(*values, strict=True):
                number += 1
                yield RawRow(number, text, label, tuple(slices))
    except (pa.ArrowException, OSError) as error:
        reason = _first_line(error)
        raise DataError(f"{source} cannot be read past row {number}: {reason}") from None


def parquet_columns(stream: BinaryIO, source: str) -> list[str]:
    """Return the names of all columns, in order.

    Args:
        stream: the file's bytes, seekable.
        source: the file's name, for errors.

    Raises:
        DataError: the file is not valid Parquet.
    """
    return list(_opened(stream, source).schema_arrow.names)


def _opened(stream: BinaryIO, source: str) -> Any:
    """Return the ``ParquetFile``.

    Raises:
        DataError: the file is not valid Parquet, or its Arrow schema cannot be read.
    """
    from components.ingestion.arrow import pq

    try:
        table = pq.ParquetFile(stream)
        table.schema_arrow  # noqa: B018 (computed on access)
    # Not only ArrowException: pyarrow-hotfix raises RuntimeError for an extension type that holds
    # code, or any error that disassembling the code for its message raises.
    except Exception as error:
        raise DataError(f"{source} cannot be read as Parquet: {_first_line(error)}") from None
    return table


def _values(column: Any) -> list[object]:
    from components.ingestion.arrow import pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type):
        column = column.cast(pa.binary())
    elif pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary())
    values: list[object] = column.to_pylist()
    return values


def _check_text_type(kind: Any, name: str, source: str) -> None:
    from components.ingestion.arrow import pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    strings = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)
    if not any(check(kind) for check in (*strings, pa.types.is_large_binary)):
        raise DataError(
            f"{source}: column {name!r} holds {kind}, not strings; set data.text_column to a "
            "string column"
        )


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:200]
