import decimal

import pytest

from components.ingestion.rows import (
    EXCERPT_CHARACTERS,
    BadRow,
    LabelledText,
    RawRow,
    Reason,
    RowRules,
    check_row,
    excerpt,
)

RULES = RowRules(max_text_bytes=100)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("1", "1"),
        (1, "1"),
        (1.0, "1"),
        (decimal.Decimal("1.00"), "1"),
        (decimal.Decimal(10) ** 37, "1" + "0" * 37),
        (-3, "-3"),
        (0.5, "0.5"),
        (True, "true"),
        (False, "false"),
        (" spaced ", "spaced"),
        ("naïve", "naïve"),
        (b"bytes", "bytes"),
        (0, "0"),
    ],
)
def test_label_of_any_type_becomes_text(value: object, label: str) -> None:
    assert check_row(RawRow(1, "a text", value), RULES) == LabelledText("a text", label)


@pytest.mark.parametrize(
    ("text", "label", "reason"),
    [
        ("", "a", Reason.EMPTY_TEXT),
        (" \t\n", "a", Reason.EMPTY_TEXT),
        (None, "a", Reason.EMPTY_TEXT),
        (5, "a", Reason.TEXT_NOT_A_STRING),
        (["a"], "a", Reason.TEXT_NOT_A_STRING),
        ("x" * 101, "a", Reason.TEXT_TOO_LONG),
        ("é" * 51, "a", Reason.TEXT_TOO_LONG),
        (b"\xff\xfe", "a", Reason.NOT_UTF8),
        ("caf\udce9", "a", Reason.NOT_UTF8),
        ("\ud800", "a", Reason.NOT_UTF8),
        ("a\0b", "a", Reason.NUL_CHARACTER),
        ("x", "", Reason.MISSING_LABEL),
        ("x", "  ", Reason.MISSING_LABEL),
        ("x", None, Reason.MISSING_LABEL),
        ("x", float("nan"), Reason.MISSING_LABEL),
        ("x", "a\nb", Reason.LABEL_WITH_LINE_BREAK),
        ("x", ["a"], Reason.LABEL_NOT_A_SCALAR),
        ("x", {"a": 1}, Reason.LABEL_NOT_A_SCALAR),
        ("x", "\udce9", Reason.NOT_UTF8),
    ],
)
def test_bad_value_gives_its_reason(text: object, label: object, reason: Reason) -> None:
    checked = check_row(RawRow(7, text, label), RULES)
    assert isinstance(checked, BadRow)
    assert (checked.line, checked.reason, checked.rows) == (7, reason, 1)


def test_text_of_exactly_the_limit_is_accepted() -> None:
    assert check_row(RawRow(1, "é" * 50, "a"), RULES) == LabelledText("é" * 50, "a")


def test_label_outside_the_configured_set_is_refused() -> None:
    rules = RowRules(100, frozenset({"pos", "neg"}))
    assert check_row(RawRow(1, "x", "pos"), rules) == LabelledText("x", "pos")
    checked = check_row(RawRow(1, "x", "positive"), rules)
    assert isinstance(checked, BadRow)
    assert (checked.reason, checked.detail) == (Reason.UNKNOWN_LABEL, "positive")


def test_missing_slice_value_is_an_empty_string() -> None:
    checked = check_row(RawRow(1, "x", "a", (None, 3, "films")), RULES)
    assert checked == LabelledText("x", "a", ("", "3", "films"))


def test_text_is_kept_unchanged() -> None:
    text = "  <b>Ａ</b>\r\n tail "
    assert check_row(RawRow(1, text, "a"), RULES) == LabelledText(text, "a")


def test_excerpt_is_short_printable_and_shows_bad_bytes() -> None:
    shown = excerpt("caf\udce9\n\x1b[31m", b"\xe9", None, 4)
    assert shown == "caf\\xe9\\n\\x1b[31m, \\xe9, , 4"
    long = excerpt("x" * 10_000, "y" * 10_000)
    assert len(long) == EXCERPT_CHARACTERS
    assert long.endswith("…")
    long.encode("utf-8")
