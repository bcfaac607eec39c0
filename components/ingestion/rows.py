"""Rows as the readers yield them, and the checks that turn them into examples.

A reader yields ``RawRow`` or ``BadRow`` for every row of its file; ``check_row`` turns a ``RawRow``
into a ``LabelledText`` or a ``BadRow``. Every row thus becomes an example or is quarantined.
Standard library only.
"""

import dataclasses
import decimal
import enum
from collections.abc import Sequence

#: Longest excerpt of a bad row in a quarantine record, in characters.
EXCERPT_CHARACTERS = 500


class Reason(enum.StrEnum):
    """Reason for quarantining a row."""

    WRONG_FIELD_COUNT = "wrong_field_count"
    MALFORMED_QUOTES = "malformed_quotes"
    UNCLOSED_QUOTE = "unclosed_quote"
    MALFORMED_JSON = "malformed_json"
    NOT_A_TEXT_FILE = "not_a_text_file"
    NOT_A_REGULAR_FILE = "not_a_regular_file"
    LINK_LEAVES_FOLDER = "link_leaves_folder"
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
        text: name of the text column.
        label: name of the label column.
        slices: names of the columns that examples are grouped by.
        slices_required: whether a file that lacks one of ``slices`` is refused; if not, the values
            read as missing.
    """

    text: str
    label: str
    slices: tuple[str, ...] = ()
    slices_required: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class RawRow:
    """A parsed row whose values are not checked yet.

    Attributes:
        line: where the row starts: physical line (CSV, JSONL) or row number (Parquet), from 1.
        text: value of the text column; ``bytes`` if the reader leaves decoding to ``check_row``.
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
        reason: why it is not an example.
        excerpt: the printable beginning of the row, at most ``EXCERPT_CHARACTERS`` characters.
        detail: details of the reason, e.g. ``"3 fields, the header has 2"``.
        rows: how many rows it counts as. A quote that is never closed swallows an unknown number
            of rows; every line of it is counted, so that they all count towards the bad-row limit.
    """

    line: int
    reason: Reason
    excerpt: str
    detail: str = ""
    rows: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledText:
    """A checked row: the values of one example."""

    text: str
    label: str
    slices: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class RowRules:
    """Rules for the values of a row.

    Attributes:
        max_text_bytes: longest legal text, in bytes of UTF-8.
        labels: the allowed labels; empty: any label.
    """

    max_text_bytes: int
    labels: frozenset[str] = frozenset()


def excerpt(*values: object) -> str:
    """Return the beginning of a row as printable UTF-8 on one line.

    Args:
        *values: the values of the row; bytes are decoded.

    Returns:
        At most ``EXCERPT_CHARACTERS`` characters.
    """
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
    # Bytes that are not UTF-8 were decoded to lone surrogates; show the original bytes.
    cut = "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in cut)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


class RowError(ValueError):
    """A value that an example cannot have.

    Attributes:
        reason: the rule that it breaks.
        detail: details of the reason, or "".
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def check_row(row: RawRow, rules: RowRules) -> LabelledText | BadRow:
    """Check the values of one row.

    Args:
        row: a row from a reader.
        rules: the rules for its values.

    Returns:
        The labelled text, or a bad row with the first rule that it breaks.
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
    """Return the value as valid Unicode without NUL, and its size in bytes of UTF-8."""
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
        # Vocabulary files hold one label per line.
        raise RowError(Reason.LABEL_WITH_LINE_BREAK)
    if labels and label not in labels:
        raise RowError(Reason.UNKNOWN_LABEL, excerpt(label)[:80])
    return label


def scalar_text(value: object) -> str:
    """Return a label or slice value as text: 1, 1.0 and "1" are the same; missing is "".

    Raises:
        RowError: the value is a list or an object, contains NUL, or is not UTF-8.
    """
    if value is None or value != value:  # many writers use NaN for "missing"
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
