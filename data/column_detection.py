"""Detection of the text column, the label column and slice columns in data of unknown layout.

Uses neither TensorFlow nor pandas, so that ``bert config init`` starts quickly; pyarrow is imported
only for Parquet.
"""

import collections
import contextlib
import csv
import dataclasses
import io
import itertools
import json
import statistics
from collections.abc import Iterable, Iterator, Sequence

from components.ingestion import files
from components.ingestion.csv_reader import DELIMITERS, read_csv
from components.ingestion.rows import BadRow, Columns, RawRow, RowError, scalar_text
from components.ingestion.sources import CSV, FOLDERS, JSONL, Source, find_sources
from modules.contract.errors import DataError

#: Rows to inspect, enough to recognise the columns.
MAX_ROWS = 50_000
#: Columns with more distinct values are neither labels nor slices.
MAX_CLASSES = 200
MAX_SLICES = 50
PERCENTILES = (50, 90, 95, 99)

_PROBE_LINES = 50
_MAX_LINE = 100_000
_MAX_TEXT_BYTES = 1_000_000
_TEXT_NAMES = (
    "text", "review", "content", "message", "body", "comment", "sentence", "document", "tweet",
    "description", "question", "utterance", "post", "abstract", "title",
)  # fmt: skip
_LABEL_NAMES = (
    "label", "class", "target", "category", "sentiment", "y", "intent", "topic", "tag", "stars",
    "rating", "score", "polarity", "type",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ColumnSummary:
    """Summary of one column.

    Attributes:
        name: its name in the file.
        filled: number of rows with a value.
        distinct: number of distinct values; counting stops after ``MAX_CLASSES``.
        mean_words: mean number of words of the values.
        counts: value -> rows, or empty if there are more than ``MAX_CLASSES`` values.
    """

    name: str
    filled: int
    distinct: int
    mean_words: float
    counts: dict[str, int]


@dataclasses.dataclass(frozen=True)
class DataProfile:
    """Result of inspecting data.

    Attributes:
        path: the inspected file or folder.
        format: csv, jsonl, parquet or folders.
        delimiter: delimiter of CSV; empty for other formats.
        rows: number of inspected rows, including bad ones.
        bad_rows: number of rows that could not be read.
        complete: whether all rows were inspected.
        columns: every column, in order.
        text_column: the likely text column, or None.
        label_column: the likely label column, or None.
        labels: label -> rows, most frequent first; empty without a label column.
        slice_columns: columns whose values could be slices in the evaluation.
        words: percentile (50, 90, 95, 99, 100) -> words of the text.
    """

    path: str
    format: str
    delimiter: str
    rows: int
    bad_rows: int
    complete: bool
    columns: tuple[ColumnSummary, ...]
    text_column: str | None
    label_column: str | None
    labels: dict[str, int]
    slice_columns: tuple[str, ...]
    words: dict[int, int]


class _ColumnCounter:
    """A running summary of one column, without its values."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.filled = 0
        self.counts: collections.Counter[str] = collections.Counter()
        self.overflowed = False
        self.words: list[int] = []

    def add(self, value: str) -> None:
        if not value:
            return
        self.filled += 1
        self.words.append(len(value.split()))
        if not self.overflowed:
            self.counts[value] += 1
            self.overflowed = len(self.counts) > MAX_CLASSES

    def summary(self) -> ColumnSummary:
        mean = statistics.fmean(self.words) if self.words else 0.0
        counts = {} if self.overflowed else dict(self.counts.most_common())
        return ColumnSummary(self.name, self.filled, len(self.counts), mean, counts)


def inspect_data(path: str, *, data_format: str = "auto", max_rows: int = MAX_ROWS) -> DataProfile:
    """Inspect the first rows of data.

    Args:
        path: a CSV, JSONL or Parquet file, or a folder with one folder per class.
        data_format: auto, csv, jsonl, parquet or folders.
        max_rows: maximum number of rows to inspect.

    Raises:
        DataError: the data does not exist, is empty, has an unsupported format, or is CSV without
            a header.
    """
    sources = find_sources([path], data_format)
    first = sources[0]
    names, delimiter = _column_names(first)
    counters = [_ColumnCounter(name) for name in names]
    rows = bad = 0
    complete = True
    for row in _rows(sources, names, delimiter):
        if rows == max_rows:
            complete = False
            break
        rows += 1
        if isinstance(row, BadRow):
            bad += 1
            continue
        for counter, value in zip(counters, _values(row), strict=True):
            counter.add(value)
    if not rows:
        raise DataError(f"{path}: no row of data; add rows below the header")
    columns = tuple(counter.summary() for counter in counters)
    if first.format == CSV:
        _refuse_headless(path, columns)
    text = "text" if first.format == FOLDERS else _text_column(columns)
    label = "label" if first.format == FOLDERS else _label_column(columns, text)
    by_name = {column.name: column for column in columns}
    return DataProfile(
        path=path,
        format=first.format,
        delimiter=delimiter,
        rows=rows,
        bad_rows=bad,
        complete=complete,
        columns=columns,
        text_column=text,
        label_column=label,
        labels=by_name[label].counts if label else {},
        slice_columns=_slice_columns(columns, text, label),
        words=_percentiles(next((c.words for c in counters if c.name == text), [])),
    )


def _values(row: RawRow) -> Iterator[str]:
    """Yield each value as text; values that cannot be labels in their Python representation."""
    for value in (row.text, row.label, *row.slices):
        try:
            yield scalar_text(value)
        except RowError:
            yield str(value)


def _rows(sources: Sequence[Source], names: list[str], delimiter: str) -> Iterator[RawRow | BadRow]:
    if len(names) < 2:
        raise DataError(
            f"{sources[0].path} has one column, {names[0]!r}; a text and a label column are "
            "required"
        )
    columns = Columns(names[0], names[1], tuple(names[2:]))
    for source in sources:
        if source.format == CSV:
            with files.open_binary(source.path) as stream:
                yield from read_csv(
                    stream,
                    columns,
                    source=source.path,
                    max_text_bytes=_MAX_TEXT_BYTES,
                    delimiter=delimiter,
                )
        else:
            for _, row in source.read(columns, _MAX_TEXT_BYTES):
                yield row


def _column_names(source: Source) -> tuple[list[str], str]:
    if source.format == CSV:
        return _csv_columns(source.path)
    if source.format == JSONL:
        return _jsonl_keys(source.path), ""
    if source.format == FOLDERS:
        return ["text", "label"], ""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with files.open_binary(source.path) as stream:
            return list(pq.read_schema(stream).names), ""
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source.path} cannot be read as Parquet: {error}") from None


def _csv_columns(path: str) -> tuple[list[str], str]:
    """Return the header's names and the delimiter with which most rows are as wide as it."""
    with files.open_binary(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
        lines = iter(lambda: text.readline(_MAX_LINE), "")
        probe = list(itertools.islice(lines, _PROBE_LINES))
        text.detach()
    fits = [_delimiter_fit(probe, delimiter) for delimiter in DELIMITERS]
    _, _, names, delimiter = max(fits, key=lambda fit: fit[:2])
    if not names:
        raise DataError(f"{path} is empty; its first line must name the columns, e.g. text,label")
    return names, delimiter


def _delimiter_fit(lines: list[str], delimiter: str) -> tuple[float, int, list[str], str]:
    """Return how well a delimiter fits: share of rows as wide as the header, its width, names."""
    records = []
    # A quote that is not closed within these lines raises an error; earlier records count.
    with contextlib.suppress(csv.Error):
        for record in csv.reader(lines, delimiter=delimiter, strict=True):
            if record:
                records.append(record)
    if not records:
        return 0.0, 0, [], delimiter
    width = len(records[0])
    as_wide = sum(len(record) == width for record in records) / len(records)
    names = [name.strip() for name in records[0]]
    return (as_wide if width > 1 else 0.0), width, names, delimiter


def _jsonl_keys(path: str) -> list[str]:
    keys: dict[str, None] = {}
    with files.open_binary(path) as stream:
        for line in itertools.islice(stream, _PROBE_LINES):
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict):
                keys.update(dict.fromkeys(found))
    if not keys:
        raise DataError(f"{path}: none of the first {_PROBE_LINES} lines is a JSON object")
    return list(keys)


def _refuse_headless(path: str, columns: Iterable[ColumnSummary]) -> None:
    """Reject a header that is a row of data, because a cell occurs again below, like a label."""
    for column in columns:
        if column.counts.get(column.name, 0) > 1:
            raise DataError(
                f"{path}: the first line looks like data ({column.name!r} occurs again below); "
                "add a header line with the names of the columns, e.g. text,label"
            )


def _named_like(name: str, known: Sequence[str]) -> float:
    """Return 1 for the first known name, less for those further down the list, 0 for others."""
    parts = name.casefold().replace("-", "_").replace(" ", "_").split("_")
    ranks = [rank for rank, word in enumerate(known) if word in parts]
    return 1 - 0.5 * ranks[0] / len(known) if ranks else 0.0


def _text_column(columns: Sequence[ColumnSummary]) -> str | None:
    """Return the column with the most words; a known name counts up to ten words."""
    worth = {
        column.name: column.mean_words + 10 * _named_like(column.name, _TEXT_NAMES)
        for column in columns
        if column.filled and (column.mean_words > 1.5 or _named_like(column.name, _TEXT_NAMES))
    }
    return max(worth, key=lambda name: worth[name]) if worth else None


def _label_column(columns: Sequence[ColumnSummary], text: str | None) -> str | None:
    """Return the best column of few, repeated values: by name, then by the fewest values."""
    candidates = [c for c in columns if c.name != text and _repeats(c, MAX_CLASSES)]
    if not candidates:
        return None
    best = max(candidates, key=lambda c: (_named_like(c.name, _LABEL_NAMES), -c.distinct))
    return best.name


def _slice_columns(
    columns: Sequence[ColumnSummary], text: str | None, label: str | None
) -> tuple[str, ...]:
    taken = (text, label)
    return tuple(c.name for c in columns if c.name not in taken and _repeats(c, MAX_SLICES))


def _repeats(column: ColumnSummary, most: int) -> bool:
    """Return whether the column has 2 to ``most`` values that occur at least twice on average."""
    return 2 <= column.distinct <= most and column.filled >= 2 * column.distinct


def _percentiles(words: list[int]) -> dict[int, int]:
    if not words:
        return {}
    ordered = sorted(words)
    last = len(ordered) - 1
    return {percent: ordered[round(last * percent / 100)] for percent in (*PERCENTILES, 100)}
