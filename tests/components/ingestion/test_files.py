"""Remote paths, on a file system that looks like a real object store to Beam."""

import dataclasses
import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.localfilesystem import LocalFileSystem

from components.ingestion import files
from components.ingestion.input_data import find_input
from components.ingestion.rows import Columns, RawRow, RowRules
from components.ingestion.settings import IngestionSettings
from components.ingestion.sources import Source, find_sources, fingerprint, total_bytes
from components.ingestion.splitting import SplitWeights
from modules.contract.errors import DataError


class StoreFileSystem(LocalFileSystem):
    """Object store with slashes in keys and no folders; the objects are files of a local folder."""

    root: ClassVar[Path]

    @classmethod
    def scheme(cls) -> str:
        return "store"

    def _local(self, path: str) -> str:
        return str(self.root / path.removeprefix("store://"))

    def has_dirs(self) -> bool:
        return False

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def exists(self, path: str) -> bool:
        return os.path.isfile(self._local(path))

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, os.path.getsize(self._local(path)))

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                local = Path(folder) / name
                key = f"store://{local.relative_to(self.root)}"
                if key.startswith(dir_or_prefix):
                    yield FileMetadata(key, local.stat().st_size)

    def open(self, path: str, mime_type: str = "", compression_type: str = "") -> Any:
        assert compression_type == CompressionTypes.UNCOMPRESSED
        return open(self._local(path), "rb")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    StoreFileSystem.root = tmp_path
    for name, content in {
        "bucket/a.csv": b"text,label\nx,1\n",
        "bucket/b.csv.gz": gzip.compress(b"text,label\ny,2\n"),
        "bucket/classes/neg/1.txt": b"bad",
        "bucket/classes/pos/1.txt": b"good",
        "bucket/classes/pos/2.txt": b"great",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def rows(sources: list[Source]) -> list[tuple[object, object]]:
    found = [row for source in sources for _, row in source.read(Columns("text", "label"), 100)]
    return [(row.text, row.label) for row in found if isinstance(row, RawRow)]


@pytest.mark.usefixtures("store")
def test_object_store_is_read_like_a_local_folder() -> None:
    assert files.exists("store://bucket/a.csv")
    assert files.is_folder("store://bucket/classes")
    assert not files.is_folder("store://bucket/a.csv")
    assert not files.exists("store://bucket/none")
    sources = find_sources(["store://bucket/*.csv*"], "auto")
    assert rows(sources) == [("x", "1"), ("y", "2")]
    classes = find_sources(["store://bucket/classes"], "auto")
    assert rows(classes) == [(b"bad", "neg"), (b"good", "pos"), (b"great", "pos")]
    assert total_bytes(classes) == 12


def test_fingerprint_is_the_same_for_local_and_remote_copies(store: Path) -> None:
    remote = find_sources(["store://bucket/a.csv", "store://bucket/classes"], "auto")
    local = find_sources([f"{store}/bucket/a.csv", f"{store}/bucket/classes"], "auto")
    assert fingerprint(remote) == fingerprint(local)


@pytest.mark.usefixtures("store")
def test_missing_object_is_refused() -> None:
    with pytest.raises(DataError, match=r"no such file or folder: store://bucket/c\.csv"):
        find_sources(["store://bucket/c.csv"], "auto")


def test_spans_in_an_object_store_are_read_with_the_data(store: Path) -> None:
    """No file system of TensorFlow is involved: none supports this scheme."""
    settings = IngestionSettings(
        paths=("store://bucket/a.csv",),
        data_format="auto",
        columns=Columns("text", "label"),
        rules=RowRules(100),
        max_bad_share=0.0,
        split=SplitWeights((8, 1, 1)),
        spans_directory="store://bucket/feedback",
    )
    assert find_input(settings).feedback_spans == ()
    for number in (10, 9):
        path = store / "bucket" / "feedback" / f"span-{number}" / "feedback.csv"
        path.parent.mkdir(parents=True)
        path.write_text(f"text,label\nz,{number}\n")
    data = find_input(settings)
    assert (data.span, data.feedback_spans) == (10, (9, 10))
    assert rows(list(data.sources)) == [("x", "1"), ("z", "9"), ("z", "10")]
    local = dataclasses.replace(
        settings, paths=(f"{store}/bucket/a.csv",), spans_directory=f"{store}/bucket/feedback"
    )
    assert fingerprint(find_input(local).sources) == fingerprint(data.sources)
