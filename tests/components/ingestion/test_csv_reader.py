import csv
import gzip
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ingestion import files
from components.ingestion.csv_reader import read_csv
from components.ingestion.rows import BadRow, Columns, RawRow, Reason
from modules.contract.errors import DataError

COLUMNS = Columns("text", "label")


def rows_of(
    content: bytes | str,
    columns: Columns = COLUMNS,
    *,
    max_text_bytes: int = 1_000_000,
    delimiter: str = "",
) -> list[RawRow | BadRow]:
    data = content.encode() if isinstance(content, str) else content
    stream = io.BufferedReader(io.BytesIO(data))
    return list(
        read_csv(
            stream, columns, source="f.csv", max_text_bytes=max_text_bytes, delimiter=delimiter
        )
    )


def pairs(rows: list[RawRow | BadRow]) -> list[tuple[object, object]]:
    assert all(isinstance(row, RawRow) for row in rows)
    return [(row.text, row.label) for row in rows if isinstance(row, RawRow)]


def refusal(content: bytes | str, columns: Columns = COLUMNS) -> str:
    with pytest.raises(DataError) as caught:
        rows_of(content, columns)
    message = str(caught.value)
    assert "\n" not in message
    return message


printable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(st.lists(st.tuples(printable, printable)), st.sampled_from(["\n", "\r\n", "\r"]))
def test_rfc_4180_csv_is_read_back_unchanged(table: list[tuple[str, str]], line_end: str) -> None:
    target = io.StringIO()
    writer = csv.writer(target, quoting=csv.QUOTE_ALL, lineterminator=line_end)
    writer.writerows([("text", "label"), *table])
    assert pairs(rows_of(target.getvalue())) == table


@given(st.binary(max_size=300))
def test_any_bytes_become_rows_or_bad_rows_without_gaps(content: bytes) -> None:
    rows = rows_of(b"text,label\n" + content)
    starts = [row.line for row in rows]
    assert starts == sorted(set(starts))
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8", "surrogateescape", newline="")
    filled = [number for number, line in enumerate(text, 2) if line.strip("\r\n")]
    # Records follow one another without gaps, so the first filled line starts the first record.
    assert bool(filled) == bool(rows)
    if filled:
        assert starts[0] == filled[0]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_numbers_are_physical_lines(line_end: str) -> None:
    lines = ["text,label", '"one', 'two",a', "", "three,b", "four", "five,c"]
    rows = rows_of(line_end.join(lines) + line_end)
    assert [(row.line, type(row)) for row in rows] == [
        (2, RawRow),
        (5, RawRow),
        (6, BadRow),
        (7, RawRow),
    ]
    assert isinstance(rows[0], RawRow)
    assert rows[0].text == f"one{line_end}two"


def test_last_line_may_lack_a_line_end() -> None:
    assert pairs(rows_of("text,label\na,b")) == [("a", "b")]


def test_columns_are_found_by_name_in_any_order() -> None:
    rows = rows_of("id,label,text,lang\n1,pos,fine,en\n", Columns("text", "label", ("lang", "id")))
    assert rows == [RawRow(2, "fine", "pos", ("en", "1"))]


def test_byte_order_mark_is_not_part_of_the_first_name() -> None:
    assert pairs(rows_of(b"\xef\xbb\xbftext,label\na,b\n")) == [("a", "b")]
    assert pairs(rows_of(b'\xef\xbb\xbf"text","label"\na,b\n')) == [("a", "b")]


def test_spaces_around_column_names_are_ignored() -> None:
    assert pairs(rows_of("text, label \na,b\n")) == [("a", "b")]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_delimiter_is_detected_from_the_header(delimiter: str) -> None:
    other = ";" if delimiter == "," else ","
    content = f'text{delimiter}label\nso{other} so{delimiter}a\n"x{delimiter}y"{delimiter}b\n'
    assert pairs(rows_of(content)) == [(f"so{other} so", "a"), (f"x{delimiter}y", "b")]


def test_delimiter_can_be_set() -> None:
    assert pairs(rows_of("text;x,label\na,b\n", Columns("text;x", "label"), delimiter=",")) == [
        ("a", "b")
    ]


def test_wrong_number_of_fields_is_one_bad_row() -> None:
    rows = rows_of("text,label\na,b,c\nd\ne,f\n")
    assert [getattr(row, "reason", None) for row in rows] == [Reason.WRONG_FIELD_COUNT] * 2 + [None]
    assert isinstance(rows[0], BadRow)
    assert rows[0].detail == "3 fields, the header has 2"
    assert rows[0].excerpt == "a, b, c"


def test_quotes_inside_an_unquoted_field_are_text() -> None:
    assert pairs(rows_of('text,label\na 5" pipe,b\n')) == [('a 5" pipe', "b")]


def test_bad_quotes_cost_one_record_not_the_file() -> None:
    rows = rows_of('text,label\n"he said "no"",a\nfine,b\n')
    assert isinstance(rows[0], BadRow)
    assert (rows[0].line, rows[0].reason, rows[0].rows) == (2, Reason.MALFORMED_QUOTES, 1)
    assert pairs(rows[1:]) == [("fine", "b")]


def test_unclosed_quote_counts_every_line_after_it() -> None:
    hidden = "".join(f"row {number},a\n" for number in range(98))
    rows = rows_of(f'text,label\nfine,a\n"open,b\n{hidden}')
    assert isinstance(rows[0], RawRow)
    (bad,) = rows[1:]
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.reason, bad.rows) == (3, Reason.UNCLOSED_QUOTE, 99)
    assert bad.excerpt.startswith('"open,b\\nrow 0,a')
    assert "99 lines" in bad.detail


def test_unclosed_quote_takes_bounded_memory_and_counts_every_line() -> None:
    lines = 40_000
    content = 'text,label\n"open,b\n' + "some words of a row,a\n" * lines
    (bad,) = rows_of(content, max_text_bytes=1000)
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.reason, bad.rows) == (2, Reason.UNCLOSED_QUOTE, lines + 1)


@pytest.mark.parametrize("limit_multiple", [5, 50])
@pytest.mark.parametrize("broken_lines", [False, True])
def test_record_over_the_limit_is_skipped_and_the_next_is_read(
    limit_multiple: int, broken_lines: bool
) -> None:
    unit = 'word ""quoted"" word\n' if broken_lines else 'word ""quoted"" word '
    long = unit * (limit_multiple * (1 << 20) // 4 // len(unit) + 1)
    rows = rows_of(f'text,label\n"{long}",a\nnext,b\n', max_text_bytes=1000)
    assert isinstance(rows[0], BadRow)
    assert (rows[0].line, rows[0].reason, rows[0].rows) == (2, Reason.ROW_TOO_LONG, 1)
    assert pairs(rows[1:]) == [("next", "b")]
    assert rows[1].line == (3 + long.count("\n"))


def test_field_over_the_default_limit_of_csv_is_read() -> None:
    before = csv.field_size_limit(131_072)
    try:
        long = "x" * 300_000
        assert pairs(rows_of(f"text,label\n{long},a\n")) == [(long, "a")]
    finally:
        csv.field_size_limit(max(before, csv.field_size_limit()))


def test_invalid_utf8_affects_only_its_own_row() -> None:
    rows = rows_of(b"text,label\ncaf\xe9,a\nfine,b\n")
    assert pairs(rows) == [("caf\udce9", "a"), ("fine", "b")]


def test_nul_does_not_break_the_reader() -> None:
    assert pairs(rows_of(b"text,label\na\0b,c\n")) == [("a\0b", "c")]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_empty_file_is_refused(content: bytes) -> None:
    assert "f.csv is empty" in refusal(content)


def test_header_only_gives_no_rows() -> None:
    assert rows_of("text,label\n") == []


def test_missing_column_error_lists_columns_and_suggests_the_nearest() -> None:
    message = refusal("Text,sentiment\na,b\n")
    assert "no column 'text'" in message
    assert "Text, sentiment" in message
    assert "data.text_column=Text" in message
    message = refusal("text,labels\na,b\n")
    assert "Did you mean data.label_column=labels?" in message


def test_error_suggests_a_missing_header() -> None:
    message = refusal(f"{'I liked this film a lot. ' * 8},pos\nbad,neg\n")
    assert "Is the header line missing?" in message
    assert len(message) < 500


def test_duplicate_column_is_refused() -> None:
    assert "2 columns named 'text'" in refusal("text,label,text\na,b,c\n")


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16LE"),
        ("utf-16-be", "UTF-16BE"),
        ("utf-32", "UTF-32"),
    ],
)
def test_utf16_and_utf32_are_refused(encoding: str, name: str) -> None:
    message = refusal("text,label\na,b\n".encode(encoding))
    assert f"is {name}; only UTF-8 is supported. Convert it first: iconv -f {name} -t" in message


def test_second_byte_order_mark_is_not_part_of_a_name() -> None:
    rows = rows_of(b"\xef\xbb\xbf\xef\xbb\xbftext,label\na,b\n")
    assert rows == [RawRow(2, "a", "b")]


def test_unprintable_column_name_is_not_suggested() -> None:
    message = refusal("te\0xt,label\na,b\n")
    assert message.isprintable()
    assert "Did you mean" not in message


def test_optional_slice_columns_may_be_missing() -> None:
    columns = Columns("text", "label", ("s", "t"), slices_required=False)
    assert rows_of("text,t,label\na,x,b\n", columns) == [RawRow(2, "a", "b", (None, "x"))]


def test_unreadable_header_is_refused() -> None:
    assert "first line cannot be read as CSV" in refusal('"text,label\na,b\n')


@pytest.mark.parametrize("size", [10, 2000])
def test_gzip_is_detected_from_its_bytes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "misnamed.csv"
    path.write_bytes(gzip.compress(b"text,label\n" + b"word,a\n" * size))
    with files.open_binary(str(path)) as stream:
        rows = list(read_csv(stream, COLUMNS, source="f", max_text_bytes=100))
    assert pairs(rows) == [("word", "a")] * size


@pytest.mark.skipif("BERT_REAL_DATA" not in os.environ, reason="BERT_REAL_DATA names no folder")
@pytest.mark.parametrize(
    ("name", "count"), [("imdb_25k.csv", 25_000), ("news20_train.csv", 11_314)]
)
def test_real_files_give_the_same_rows_as_the_csv_module(name: str, count: int) -> None:
    path = Path(os.environ["BERT_REAL_DATA"]) / name
    with path.open("rb") as stream:
        rows = pairs(list(read_csv(stream, COLUMNS, source=name, max_text_bytes=1_000_000)))
    with path.open(encoding="utf-8", newline="") as text:
        assert rows == [tuple(record) for record in csv.reader(text)][1:]
    assert len(rows) == count
