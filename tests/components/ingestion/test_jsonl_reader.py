import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ingestion.jsonl_reader import read_jsonl
from components.ingestion.rows import BadRow, Columns, RawRow, Reason, RowRules, check_row
from modules.contract.errors import DataError


def rows_of(
    content: bytes | str, columns: Columns | None = None, *, max_text_bytes: int = 1_000_000
) -> list[RawRow | BadRow]:
    data = content.encode() if isinstance(content, str) else content
    stream = io.BufferedReader(io.BytesIO(data))
    columns = columns or Columns("text", "label")
    return list(read_jsonl(stream, columns, source="f.jsonl", max_text_bytes=max_text_bytes))


labels = st.one_of(st.text(), st.integers(), st.none())


@given(st.lists(st.tuples(st.text(), labels)), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_json_lines_are_read_back_unchanged(
    table: list[tuple[str, object]], escaped: bool, line_end: str
) -> None:
    lines = [json.dumps({"text": t, "label": v}, ensure_ascii=escaped) for t, v in table]
    rows = rows_of(line_end.join(lines))
    assert [(row.text, row.label) for row in rows if isinstance(row, RawRow)] == table


@given(st.binary(max_size=200))
def test_any_bytes_give_one_row_per_filled_line(content: bytes) -> None:
    good = b'{"text": "a", "label": "b"}\n'
    rows = rows_of(good + content)
    assert len(rows) == 1 + sum(bool(line.strip()) for line in content.split(b"\n"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "a"', Reason.MALFORMED_JSON),
        (b'["a", "b"]', Reason.MALFORMED_JSON),
        (b'"a"', Reason.MALFORMED_JSON),
        (b"[" * 200_000, Reason.MALFORMED_JSON),
        (b'{"text": ' + b"9" * 5000 + b"}", Reason.MALFORMED_JSON),
        (b'{"text": "caf\xe9", "label": 1}', Reason.NOT_UTF8),
    ],
)
def test_bad_line_affects_only_its_own_row(line: bytes, reason: Reason) -> None:
    good = b'{"text": "a", "label": "b"}'
    rows = rows_of(b"\n".join([good, b"", line, good]))
    assert [row.line for row in rows] == [1, 3, 4]
    assert isinstance(rows[1], BadRow)
    assert rows[1].reason is reason
    assert len(rows[1].detail) <= 200


def test_line_over_the_limit_is_skipped() -> None:
    long = json.dumps({"text": "x" * (9 << 20), "label": "a"})
    rows = rows_of(f'{long}\n{{"text": "a", "label": "b"}}\n', max_text_bytes=1000)
    assert isinstance(rows[0], BadRow)
    assert rows[0].reason is Reason.ROW_TOO_LONG
    assert rows[1] == RawRow(2, "a", "b")


def test_missing_key_of_one_object_is_a_missing_value() -> None:
    rows = rows_of('{"text": "a", "label": "b"}\n{"text": "c"}\n')
    assert rows[1] == RawRow(2, "c", None)


def test_key_missing_from_every_object_is_refused() -> None:
    with pytest.raises(DataError, match=r"no column 'text'.*body, label.*data\.text_column"):
        rows_of('{"body": "a", "label": "b"}\n')
    with pytest.raises(DataError, match=r"Did you mean data\.label_column=Label\?"):
        rows_of('{"text": "a", "Label": "b"}\n')


def test_byte_order_mark_is_skipped_and_slices_are_read() -> None:
    columns = Columns("text", "label", ("lang",))
    rows = rows_of(b'\xef\xbb\xbf{"text": "a", "label": 1.0, "lang": "en"}\n', columns)
    assert rows == [RawRow(1, "a", 1.0, ("en",))]


def test_lone_surrogate_escape_is_quarantined() -> None:
    (row,) = rows_of('{"text": "\\ud800", "label": "a"}\n')
    assert isinstance(row, RawRow)
    checked = check_row(row, RowRules(100))
    assert isinstance(checked, BadRow)
    assert checked.reason is Reason.NOT_UTF8
    checked.excerpt.encode("utf-8")


@pytest.mark.parametrize("indent", [None, 1])
def test_json_array_is_refused_not_quarantined(indent: int | None) -> None:
    objects = [{"text": "a", "label": "b"}] * 3
    with pytest.raises(DataError, match=r"is one JSON array.*jq -c '\.\[\]'"):
        rows_of(json.dumps(objects, indent=indent))
    (row,) = rows_of('["a", "b"]\n')
    assert isinstance(row, BadRow)
