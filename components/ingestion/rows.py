"""Rows as the readers give them, and the checks that make them examples. Standard library only.

A reader yields ``RawRow`` or ``BadRow`` for every row of its file; ``check_row`` turns a ``RawRow``
into a ``LabelledText`` or a ``BadRow``. So a row in is an example out or a row in quarantine.
"""

import dataclasses
import decimal
import enum
from collections.abc import Sequence

#: Longest excerpt of a bad row that a quarantine record carries, in characters.
EXCERPT_CHARACTERS = 500


class Reason(enum.StrEnum):
    """Why a row is in quarantine."""

    WRONG_FIELD_COUNT = "wrong_field_count"
    MALFORMED_QUOTES = "malformed_quotes"
    UNCLOSED_QUOTE = "unclosed_quote"
    MALFORMED_JSON = "malformed_json"
    NOT_A_TEXT_FILE = "not_a_text_file"
    ROW_TOO_LONG = "row_too_long"
    NOT_UTF8 = "not_utf8"
    NUL_CHARACTER = "nul_character"
    EMPTY_TEXT = "empty_text"
    TEXT_NOT_A_STRING = "text_not_a_string"
    TEXT_TOO_LONG = "text_too_long"
    MISSING_LABEL = "missing_label"
    LABEL_NOT_A_SCALAR = "label_not_a_scalar"
    LABEL_WITH_LINE_BREAK = "label_with_line_break"
    UNKNOWN_LABEL = "unknown_label"


@dataclasses.dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns (CSV, Parquet) or keys (JSONL) that make an example.

    Attributes:
        text: of the text.
        label: of the label.
        slices: of what examples are grouped by.
        slices_required: whether a file without one of ``slices`` is refused; else it reads as
            missing.
    """

    text: str
    label: str
    slices: tuple[str, ...] = ()
    slices_required: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class RawRow:
    """A row that could be parsed, its values unchecked.

    Attributes:
        line: where the row starts: physical line (CSV, JSONL) or row number (Parquet), from 1.
        text: value of the text column; ``bytes`` where the reader leaves decoding to the check.
        label: value of the label column.
        slices: values of the slice columns, in the order configured.
    """

    line: int
    text: object
    label: object
    slices: tuple[object, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class BadRow:
    """A row for the quarantine.

    Attributes:
        line: where the row starts, as in ``RawRow``.
        reason: why it is no example.
        excerpt: the beginning of the row, printable, at most ``EXCERPT_CHARACTERS`` long.
        detail: what was found, e.g. ``"3 fields, the header has 2"``.
        rows: how many rows this stands for. A quote that is never closed hides an unknown number
            of rows; each of its lines is counted, so that it cannot hide under the bad-row limit.
    """

    line: int
    reason: Reason
    excerpt: str
    detail: str = ""
    rows: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledText:
    """A checked row: what an example is made of."""

    text: str
    label: str
    slices: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class RowRules:
    """What a row must keep to.

    Attributes:
        max_text_bytes: longest legal text, in bytes of UTF-8.
        labels: the closed set of labels; empty: any label.
    """

    max_text_bytes: int
    labels: frozenset[str] = frozenset()


def excerpt(*values: object) -> str:
    """Return the beginning of a row, safe to write as UTF-8 and to print on one line."""
    shown = ", ".join(_printable(value) for value in values)
    if len(shown) <= EXCERPT_CHARACTERS:
        return shown
    return shown[: EXCERPT_CHARACTERS - 1] + "…"


def _printable(value: object) -> str:
    if isinstance(value, bytes):
        value = value[: EXCERPT_CHARACTERS * 4].decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        value = repr(value) if value is not None else ""
    cut = value[:EXCERPT_CHARACTERS]
    # Bytes that are no UTF-8 came in as lone surrogates; show them as the bytes they were.
    cut = "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in cut)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


class RowError(ValueError):
    """A value that no example can have."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def check_row(row: RawRow, rules: RowRules) -> LabelledText | BadRow:
    """Check one row's values.

    Args:
        row: as a reader gave it.
        rules: what it must keep to.

    Returns:
        The labelled text, or the row with the first rule it breaks.
    """
    try:
        text = _checked_text(row.text, rules.max_text_bytes)
        label = _checked_label(row.label, rules.labels)
        slices = tuple(scalar_text(value) for value in row.slices)
    except RowError as error:
        values = (row.text, row.label, *row.slices)
        return BadRow(row.line, error.reason, excerpt(*values), error.detail)
    return LabelledText(text, label, slices)


def _checked_text(value: object, max_bytes: int) -> str:
    if value is None:
        raise RowError(Reason.EMPTY_TEXT)
    if not isinstance(value, str | bytes):
        raise RowError(Reason.TEXT_NOT_A_STRING, type(value).__name__)
    text, size = _decoded(value)
    if not text.strip():
        raise RowError(Reason.EMPTY_TEXT)
    if size > max_bytes:
        raise RowError(Reason.TEXT_TOO_LONG, f"{size} bytes, the limit is {max_bytes}")
    return text


def _decoded(value: str | bytes) -> tuple[str, int]:
    """Return the value as sound Unicode without NUL, and its size in bytes of UTF-8."""
    try:
        data = value if isinstance(value, bytes) else value.encode("utf-8")
        text = value if isinstance(value, str) else value.decode("utf-8")
    except UnicodeError as error:
        raise RowError(Reason.NOT_UTF8, f"at character {error.start}") from None  # type: ignore[attr-defined]
    if "\0" in text:
        raise RowError(Reason.NUL_CHARACTER)
    return text, len(data)


def _checked_label(value: object, labels: frozenset[str]) -> str:
    label = scalar_text(value)
    if not label:
        raise RowError(Reason.MISSING_LABEL)
    if len(label.splitlines()) > 1:
        # Vocabulary files hold one label a line.
        raise RowError(Reason.LABEL_WITH_LINE_BREAK)
    if labels and label not in labels:
        raise RowError(Reason.UNKNOWN_LABEL, excerpt(label)[:80])
    return label


def scalar_text(value: object) -> str:
    """Return a label or slice value as text: 1, 1.0 and "1" are one label; missing is "".

    Raises:
        RowError: a list or an object, NUL, or bytes that are no UTF-8.
    """
    if value is None or value != value:  # NaN is how many writers spell "missing"
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, decimal.Decimal) and value == value.to_integral_value():
        return str(int(value))
    if isinstance(value, str | bytes):
        return _decoded(value)[0].strip()
    if isinstance(value, Sequence | dict | set):
        raise RowError(Reason.LABEL_NOT_A_SCALAR, type(value).__name__)
    return str(value)
