import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.column_detection import inspect_data
from modules.contract.errors import DataError

ROOT = Path(__file__).parents[2]
TEXTS = [f"some words about thing number {number} and more" for number in range(40)]


def write(path: Path, content: str) -> str:
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_columns_of_the_sample_are_detected(tmp_path: Path) -> None:
    found = inspect_data(str(ROOT / "data" / "sample" / "reviews.csv"))
    assert (found.format, found.delimiter, found.rows, found.bad_rows) == ("csv", ",", 1000, 0)
    assert found.complete
    assert (found.text_column, found.label_column) == ("text", "label")
    assert found.labels == {"negative": 500, "positive": 500}
    assert found.slice_columns == ("domain",)
    assert list(found.words) == [50, 90, 95, 99, 100]
    assert found.words[50] < found.words[99] <= found.words[100]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_delimiter_and_unnamed_columns_are_detected(tmp_path: Path, delimiter: str) -> None:
    lines = [delimiter.join(["k", "a", "b", "c"])]
    lines += [
        delimiter.join([str(1000 + n), f'"{text}; yes, | no"', str(n % 3), f"lang{n % 2}"])
        for n, text in enumerate(TEXTS)
    ]
    found = inspect_data(write(tmp_path / "x.csv", "\n".join(lines)))
    assert found.delimiter == delimiter
    assert found.text_column == "a"
    assert found.label_column == "c"  # the fewest values
    assert found.slice_columns == ("b",)


def test_known_names_take_precedence(tmp_path: Path) -> None:
    lines = ["id,title,Review Text,stars,country"]
    lines += [f"{n},a short title here,{text},{n % 5},c{n % 2}" for n, text in enumerate(TEXTS)]
    found = inspect_data(write(tmp_path / "x.csv", "\n".join(lines)))
    assert (found.text_column, found.label_column) == ("Review Text", "stars")
    assert found.labels == {str(n): 8 for n in range(5)}
    assert found.slice_columns == ("country",)


def test_data_may_have_neither_text_nor_label(tmp_path: Path) -> None:
    lines = ["a,b", *(f"{n},{n * 7}" for n in range(300))]
    found = inspect_data(write(tmp_path / "x.csv", "\n".join(lines)))
    assert (found.text_column, found.label_column, found.labels) == (None, None, {})
    assert found.words == {}
    assert [column.distinct for column in found.columns] == [201, 201]


def test_jsonl_and_gzip_are_inspected(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    lines = [
        json.dumps({"label": n % 2, "body": text, "meta": [n]}) for n, text in enumerate(TEXTS)
    ]
    path.write_bytes(gzip.compress("\n".join(["{broken", *lines]).encode()))
    found = inspect_data(str(path))
    assert (found.format, found.rows, found.bad_rows) == ("jsonl", 41, 1)
    assert (found.text_column, found.label_column) == ("body", "label")
    assert found.labels == {"0": 20, "1": 20}


def test_parquet_is_inspected(tmp_path: Path) -> None:
    labels = [float(n % 2) for n in range(40)]
    pq.write_table(pa.table({"text": TEXTS, "label": labels}), tmp_path / "x.parquet")
    found = inspect_data(str(tmp_path / "x.parquet"))
    assert (found.format, found.text_column, found.label_column) == ("parquet", "text", "label")
    assert found.labels == {"0": 20, "1": 20}


def test_class_folders_are_inspected(tmp_path: Path) -> None:
    for number, text in enumerate(TEXTS):
        folder = tmp_path / ("neg", "pos")[number % 2]
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_text(text)
    found = inspect_data(str(tmp_path))
    assert (found.format, found.labels) == ("folders", {"neg": 20, "pos": 20})
    assert found.words[50] == 8


def test_only_the_first_rows_are_inspected(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "text,label\n" + "some words,a\n" * 50)
    found = inspect_data(path, max_rows=10)
    assert (found.rows, found.complete) == (10, False)
    assert inspect_data(path, max_rows=50).complete


def test_bad_rows_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "text,label\na b c,x\none,two,three\nd e f,y\n")
    found = inspect_data(path)
    assert (found.rows, found.bad_rows) == (3, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("text,label\n", "no row of data"),
        ("text\na b c\n", "one column, 'text'"),
        ("I liked it,pos\nIt was bad,neg\nIt was fine,pos\nGood,pos\n", "looks like data"),
    ],
)
def test_unusable_data_is_rejected(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        inspect_data(write(tmp_path / "x.csv", content))


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        inspect_data(str(tmp_path / "x.csv"))


def test_inspecting_csv_imports_no_heavy_package() -> None:
    script = (
        "import sys; from data.column_detection import inspect_data;"
        "inspect_data('data/sample/reviews.csv'); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"apache_beam", "numpy", "pandas", "pyarrow", "tensorflow", "tfx"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.skipif("BERT_REAL_DATA" not in os.environ, reason="BERT_REAL_DATA names no folder")
@pytest.mark.parametrize(("name", "classes"), [("imdb_5k.csv", 2), ("news20_train.csv", 20)])
def test_columns_of_real_data_are_detected(name: str, classes: int) -> None:
    found = inspect_data(str(Path(os.environ["BERT_REAL_DATA"]) / name))
    assert (found.text_column, found.label_column) == ("text", "label")
    assert len(found.labels) == classes
