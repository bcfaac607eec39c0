import gzip
import os
import shutil
from pathlib import Path

import pytest

from components.ingestion.rows import BadRow, Columns, RawRow, Reason
from components.ingestion.sources import Source, find_sources, fingerprint, total_bytes
from modules.contract.errors import DataError

COLUMNS = Columns("text", "label")


def write(path: Path, content: str | bytes = "text,label\na,b\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def refusal(paths: list[str], data_format: str = "auto") -> str:
    with pytest.raises(DataError) as caught:
        find_sources(paths, data_format)
    message = str(caught.value)
    assert "\n" not in message
    return message


def read(source: Source) -> list[tuple[str, RawRow | BadRow]]:
    return list(source.read(COLUMNS, 1000))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "csv"),
        ("A.CSV", "csv"),
        ("a.tsv", "csv"),
        ("a.csv.gz", "csv"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson.gz", "jsonl"),
        ("a.parquet", "parquet"),
    ],
)
def test_format_is_detected_from_the_file_name(tmp_path: Path, name: str, kind: str) -> None:
    path = write(tmp_path / name)
    assert find_sources([path], "auto") == [Source(path, kind)]


def test_configured_format_overrides_the_file_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt")
    assert find_sources([path], "jsonl") == [Source(path, "jsonl")]
    assert "cannot determine the format" in refusal([path])


def test_overlapping_paths_and_globs_read_each_file_once(tmp_path: Path) -> None:
    paths = [write(tmp_path / name) for name in ("b.csv", "a.csv", "c.csv")]
    found = find_sources([paths[2], str(tmp_path / "*.csv"), f"{tmp_path}/./a.csv"], "auto")
    assert [source.path for source in found] == [paths[2], paths[1], paths[0]]


def test_existing_file_with_glob_characters_is_not_a_pattern(tmp_path: Path) -> None:
    path = write(tmp_path / "reviews[1].csv")
    assert find_sources([path], "auto") == [Source(path, "csv")]


def test_missing_file_error_suggests_the_nearest_name(tmp_path: Path) -> None:
    path = write(tmp_path / "reviews.csv")
    assert refusal([f"{path[:-5]}.csv"]) == (
        f"no such file or folder: {path[:-5]}.csv. Did you mean {path}?"
    )
    assert "give the path of an existing file or folder (data.path)" in refusal(
        [str(tmp_path / "x" / "y.csv")]
    )
    assert "no file matches" in refusal([str(tmp_path / "*.jsonl")])


def test_folder_of_data_files_is_read_in_order(tmp_path: Path) -> None:
    paths = [write(tmp_path / name) for name in ("1.csv", "2.csv.gz", ".hidden.csv", "notes.md")]
    assert [source.path for source in find_sources([str(tmp_path)], "auto")] == paths[:2]
    write(tmp_path / "3.jsonl")
    assert "several formats (csv, jsonl)" in refusal([str(tmp_path)])
    assert len(find_sources([str(tmp_path)], "csv")) == 2


def test_folder_without_data_is_refused(tmp_path: Path) -> None:
    assert "holds no data" in refusal([str(tmp_path)])
    assert "holds no data" in refusal([str(tmp_path)], "folders")


def test_one_folder_per_class_is_read(tmp_path: Path) -> None:
    write(tmp_path / "pos" / "2.txt", "second\r\nline")
    write(tmp_path / "pos" / "1.txt", b"\xef\xbb\xbffirst")
    write(tmp_path / "pos" / ".3.txt", "hidden")
    write(tmp_path / "neg" / "1.txt", b"caf\xe9")
    write(tmp_path / "neg" / "2.txt", "x" * 2000)
    write(tmp_path / "README.txt", "about")
    neg, pos = find_sources([str(tmp_path)], "auto")
    assert [row for _, row in read(pos)] == [
        RawRow(1, b"first", "pos"),
        RawRow(1, b"second\r\nline", "pos"),
    ]
    (path, row), (_, long) = read(neg)
    assert (path, row) == (str(tmp_path / "neg" / "1.txt"), RawRow(1, b"caf\xe9", "neg"))
    assert isinstance(long, BadRow)
    assert long.reason is Reason.TEXT_TOO_LONG
    assert "data.format is folders" in refusal([str(tmp_path / "README.txt")], "folders")


def test_other_files_in_a_class_folder_are_bad_rows(tmp_path: Path) -> None:
    for name in ("pos/1.txt", "pos/2.text", "pos/more/3.txt", "neg/1.html", "empty/.keep"):
        write(tmp_path / name, "words")
    sources = find_sources([str(tmp_path)], "auto")
    found = {
        os.path.relpath(path, tmp_path): getattr(row, "reason", None)
        for source in sources
        for path, row in read(source)
    }
    bad = Reason.NOT_A_TEXT_FILE
    assert found == {"neg/1.html": bad, "pos/1.txt": None, "pos/2.text": bad, "pos/more": bad}
    first = fingerprint(sources)
    write(tmp_path / "neg" / "2.html", "words")
    assert fingerprint(sources) != first


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"text,label\n" + os.urandom(50_000).hex().encode() + b",a\n")
    path = write(tmp_path / "a.csv.gz", whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read to its end"):
        read(Source(path, "csv"))


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv"])
def test_nested_gzip_is_decompressed(tmp_path: Path, name: str) -> None:
    packed = gzip.compress(gzip.compress(gzip.compress(b"text,label\na,b\n")))
    path = write(tmp_path / name, packed)
    assert [row for _, row in read(Source(path, "csv"))] == [RawRow(2, "a", "b")]
    write(tmp_path / name, gzip.compress(packed))
    with pytest.raises(DataError, match="more than three times"):
        read(Source(path, "csv"))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04rest", "is a ZIP archive or a spreadsheet; unpack it"),
        (b"PAR1rest", "is a Parquet file; name it .parquet"),
        (b"BZh91AY", "is compressed by bzip2; unpack it first: bunzip2"),
        (gzip.compress(b"PK\x03\x04rest", mtime=0), "is a ZIP archive"),
    ],
)
def test_binary_file_is_refused_by_name(
    tmp_path: Path, kind: str, content: bytes, words: str
) -> None:
    path = write(tmp_path / f"a.{kind}", content)
    with pytest.raises(DataError) as caught:
        read(Source(path, kind))
    assert words in str(caught.value)


@pytest.mark.parametrize("path", ["foo://bucket/a.csv", "https://example.com/a.csv"])
def test_unknown_scheme_error_is_one_line(path: str) -> None:
    assert refusal([path]).startswith(f"data.path {path} cannot be read")


def test_broken_link_is_named_in_the_error(tmp_path: Path) -> None:
    link = tmp_path / "a.csv"
    link.symlink_to(tmp_path / "gone.csv")
    assert "is a link to" in refusal([str(link)])


def test_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    try:
        write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv")))
    except OSError:
        pytest.skip("this file system accepts only UTF-8 names")
    assert "caf\\xe9.csv is not UTF-8; rename it" in refusal([str(tmp_path)])


def test_fingerprint_depends_only_on_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv")
    (source,) = find_sources([path], "auto")
    first = fingerprint([source])
    os.utime(path, (1, 1))
    os.chmod(path, 0o600)
    assert fingerprint([source]) == first
    shutil.copy(path, tmp_path / "copy")
    os.replace(tmp_path / "copy", path)
    assert fingerprint([source]) == first
    before = os.stat(path)
    write(tmp_path / "a.csv", "text,label\na,c\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_size == before.st_size
    assert fingerprint([source]) != first


def test_fingerprint_of_folders_depends_on_labels(tmp_path: Path) -> None:
    write(tmp_path / "a" / "pos" / "1.txt", "x")
    write(tmp_path / "b" / "neg" / "1.txt", "x")
    write(tmp_path / "c" / "pos" / "1.txt", "x")
    found = [fingerprint(find_sources([str(tmp_path / name)], "auto")) for name in "abc"]
    assert found[0] == found[2] != found[1]


def test_file_that_vanished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        fingerprint([Source(str(tmp_path / "gone.csv"), "csv")])


def test_total_bytes_is_the_sum_of_file_sizes(tmp_path: Path) -> None:
    write(tmp_path / "pos" / "1.txt", "xyz")
    write(tmp_path / "neg" / "1.txt", "x")
    assert total_bytes(find_sources([str(tmp_path)], "auto")) == 4
