import csv
import dataclasses
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from data import datasets
from data.datasets import DATASETS, fetch
from modules.contract.errors import DataError, UserError

IMDB = {
    "aclImdb/README": b"about",
    "aclImdb/train/pos/0_9.txt": b"Great.<br />Really.",
    "aclImdb/train/neg/0_1.txt": 'Naïve, "dull".'.encode(),
    "aclImdb/train/unsup/0_0.txt": b"no label",
    "aclImdb/train/labeledBow.feat": b"1:2",
    "aclImdb/test/pos/0_8.txt": b"Good.",
    "aclImdb/test/neg/0_2.txt": b"Bad.",
}
NEWS = {
    "20news-bydate-train/sci.space/1": b"Subject: Mir\r\n\r\ncaf\xe9 in orbit\r\n",
    "20news-bydate-test/rec.autos/2": b"Subject: brakes\n",
}


def stand_in(
    monkeypatch: pytest.MonkeyPatch, path: Path, name: str, files: dict[str, bytes]
) -> Path:
    """Replace the original archive with a small one."""
    with tarfile.open(path, "w:gz") as archive:
        for member, content in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    examples = sum(member.endswith(".txt") or "20news" in member for member in files)
    changed = dataclasses.replace(
        DATASETS[name],
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        examples=examples - ("aclImdb/train/unsup/0_0.txt" in files),
    )
    monkeypatch.setattr(datasets, "DATASETS", {name: changed})
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_imdb_is_converted_to_csv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    archive = stand_in(monkeypatch, tmp_path / "a.tar.gz", "imdb", IMDB)
    target = tmp_path / "new" / "imdb.csv"
    assert fetch("imdb", target, source_path=archive) == 4
    found = {(row["text"], row["label"], row["part"]) for row in rows_of(target)}
    assert found == {
        ("Great.<br />Really.", "positive", "train"),
        ('Naïve, "dull".', "negative", "train"),
        ("Good.", "positive", "test"),
        ("Bad.", "negative", "test"),
    }
    first = target.read_bytes()
    fetch("imdb", target, source_path=archive)
    assert target.read_bytes() == first
    assert list(target.parent.iterdir()) == [target]


def test_newsgroups_are_converted_to_csv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    archive = stand_in(monkeypatch, tmp_path / "a.tar.gz", "newsgroups", NEWS)
    assert fetch("newsgroups", tmp_path / "n.csv", source_path=archive) == 2
    found = {(row["text"], row["label"]) for row in rows_of(tmp_path / "n.csv")}
    assert found == {
        ("Subject: Mir\n\ncafé in orbit\n", "sci.space"),
        ("Subject: brakes\n", "rec.autos"),
    }


def test_downloaded_archive_is_verified_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive = stand_in(monkeypatch, tmp_path / "a.tar.gz", "imdb", IMDB)
    asked = []

    def give(url: str, destination: Path, *, max_bytes: int, sha256: str) -> None:
        asked.append((url, sha256))
        destination.write_bytes(archive.read_bytes())

    monkeypatch.setattr(datasets, "download", give)
    target = tmp_path / "out" / "imdb.csv"
    assert fetch("imdb", target) == 4
    assert asked == [(DATASETS["imdb"].url, hashlib.sha256(archive.read_bytes()).hexdigest())]
    assert list(target.parent.iterdir()) == [target]


def test_other_archive_is_rejected_without_writing(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"another file")
    with pytest.raises(DataError, match="is not the expected archive"):
        fetch("imdb", tmp_path / "imdb.csv", source_path=path)
    assert list(tmp_path.iterdir()) == [path]


def test_missing_examples_are_detected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    archive = stand_in(monkeypatch, tmp_path / "a.tar.gz", "newsgroups", NEWS)
    more = dataclasses.replace(datasets.DATASETS["newsgroups"], examples=3)
    monkeypatch.setattr(datasets, "DATASETS", {"newsgroups": more})
    with pytest.raises(DataError, match="has 2 examples, must have 3"):
        fetch("newsgroups", tmp_path / "n.csv", source_path=archive)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"must be one of imdb, newsgroups; did you mean imdb\?"):
        fetch("imbd", Path("x.csv"))


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_sources_are_pinned(dataset: datasets.Dataset) -> None:
    assert dataset.url.startswith("https://")
    assert len(bytes.fromhex(dataset.sha256)) == 32
