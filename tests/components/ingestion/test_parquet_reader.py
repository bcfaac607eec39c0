import decimal
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.ingestion.parquet_reader import read_parquet
from components.ingestion.rows import BadRow, Columns, LabelledText, Reason, RowRules, check_row
from modules.contract.errors import DataError

ROOT = Path(__file__).parents[3]
READ = """
import sys
from components.ingestion.rows import Columns
from components.ingestion.sources import Source
from data.column_detection import inspect_data
from modules.contract.errors import DataError
path = sys.argv[1]"""


def checked_rows(table: pa.Table, columns: Columns | None = None) -> list[LabelledText | BadRow]:
    target = io.BytesIO()
    pq.write_table(table, target, row_group_size=2)
    target.seek(0)
    columns = columns or Columns("text", "label")
    rows = read_parquet(target, columns, source="f.parquet")
    return [check_row(row, RowRules(1000)) for row in rows]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([1, 0, 1], pa.int8()), ["1", "0", "1"]),
        (pa.array([1.0, 0.0, 2.5]), ["1", "0", "2.5"]),
        (pa.array(["a", "b", "a"]), ["a", "b", "a"]),
        (pa.array(["a", "b", "a"], pa.large_string()), ["a", "b", "a"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array([True, False, True]), ["true", "false", "true"]),
        (
            pa.array([decimal.Decimal("1.00"), decimal.Decimal("2"), decimal.Decimal(3)]),
            list("123"),
        ),
    ],
)
def test_label_of_any_scalar_type_becomes_text(labels: pa.Array, expected: list[str]) -> None:
    texts = list("xyz")[: len(expected)]
    rows = checked_rows(pa.table({"text": texts, "label": labels, "other": texts}))
    assert rows == [LabelledText(t, v) for t, v in zip(texts, expected, strict=True)]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()])
def test_text_may_have_any_string_type(kind: pa.DataType) -> None:
    texts = pa.array(["naïve", "line\nbreak"]).cast(kind)
    rows = checked_rows(pa.table({"label": ["a", "b"], "text": texts}))
    assert rows == [LabelledText("naïve", "a"), LabelledText("line\nbreak", "b")]


def test_bad_values_affect_only_their_own_rows() -> None:
    # Arrow does not check that a string column holds valid UTF-8.
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xe9\xff")]
    )
    texts = pa.chunked_array([["fine", None], broken, ["fine"]])
    rows = checked_rows(pa.table({"text": texts, "label": [1.0, 1.0, 1.0, float("nan")]}))
    assert [getattr(row, "reason", None) for row in rows] == [
        None,
        Reason.EMPTY_TEXT,
        Reason.NOT_UTF8,
        Reason.MISSING_LABEL,
    ]
    assert [row.line for row in rows if isinstance(row, BadRow)] == [2, 3, 4]


def test_nested_label_is_refused() -> None:
    rows = checked_rows(pa.table({"text": ["x"], "label": [["a", "b"]]}))
    assert isinstance(rows[0], BadRow)
    assert rows[0].reason is Reason.LABEL_NOT_A_SCALAR


def test_column_name_may_contain_a_dot() -> None:
    table = pa.table({"a.text": ["x"], "label": ["1"], "slice.b": ["s"]})
    rows = checked_rows(table, Columns("a.text", "label", ("slice.b",)))
    assert rows == [LabelledText("x", "1", ("s",))]


def test_missing_column_is_refused() -> None:
    with pytest.raises(DataError, match=r"no column 'label'.*data\.label_column=labels"):
        checked_rows(pa.table({"text": ["x"], "labels": [1]}))


def test_text_column_without_strings_is_refused() -> None:
    with pytest.raises(DataError, match=r"'text' holds int64, not strings"):
        checked_rows(pa.table({"text": [1], "label": [1]}))


@pytest.mark.parametrize("content", [b"", b"text,label\n", b"PAR1 and then nothing PAR1"])
def test_file_that_is_not_parquet_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^f\.parquet cannot be read as Parquet: [^\n]*$"):
        list(read_parquet(io.BytesIO(content), Columns("text", "label"), source="f.parquet"))


class Payload:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize(
    "script",
    [
        "list(Source(path, 'parquet').read(Columns('text', 'label'), 1000))",
        "inspect_data(path)",
    ],
    ids=["read", "inspect"],
)
@pytest.mark.parametrize("column", ["text", "label", "other"])
def test_code_in_an_extension_type_does_not_run(tmp_path: Path, script: str, column: str) -> None:
    """CVE-2023-47248. A process of its own: Beam, which other tests import, has the hot-fix too."""
    ran, path = tmp_path / "ran", tmp_path / "evil.parquet"
    extension = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Payload(ran)),
    }
    fields = [
        pa.field(name, pa.string(), metadata=extension if name == column else None)
        for name in ("text", "label", "other")
    ]
    columns = [["good", "bad"] * 20] * len(fields)
    pq.write_table(pa.table(columns, schema=pa.schema(fields)), path)
    program = f"{READ}\ntry: {script}\nexcept DataError as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-c", program, path], cwd=ROOT, capture_output=True, text=True
    )
    assert not ran.exists()
    assert done.returncode == 0, done.stderr
    if pa.__version__ < "14":
        assert "evil.parquet cannot be read as Parquet: Disallowed deserialization" in done.stdout


def test_damaged_pages_are_refused() -> None:
    target = io.BytesIO()
    table = pa.table({"text": [f"text {number}" for number in range(5000)], "label": [1] * 5000})
    pq.write_table(table, target, compression="gzip", use_dictionary=False)
    content = bytearray(target.getvalue())
    content[len(content) // 4 : len(content) // 2] = b"\xff" * (len(content) // 4)
    with pytest.raises(DataError, match=r"^f cannot be read (past row \d+|as Parquet)[^\n]*$"):
        list(read_parquet(io.BytesIO(bytes(content)), Columns("text", "label"), source="f"))


def test_readers_import_neither_pyarrow_nor_tensorflow() -> None:
    script = "import sys, components.ingestion.settings; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"apache_beam", "pandas", "pyarrow", "tensorflow", "tfx"} & set(done.stdout.split())
