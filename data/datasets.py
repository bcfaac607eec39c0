"""Public data sets: their sources, verification and conversion to CSV.

Sources:
    imdb: Maas et al., "Learning Word Vectors for Sentiment Analysis", ACL 2011,
        https://ai.stanford.edu/~amaas/data/sentiment/: 50,000 film reviews, two labels.
    newsgroups: 20 Newsgroups, "bydate" version, http://qwone.com/~jason/20Newsgroups/:
        18,846 messages, 20 labels.
"""

import csv
import dataclasses
import difflib
import hashlib
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from data.archives import archive_texts, check_digest, download
from modules.contract.atomic_file import whole_file
from modules.contract.errors import DataError, UserError

COLUMNS = ("text", "label", "part")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set and the layout of its archive.

    Attributes:
        url: URL of the original archive.
        archive: the archive's file name.
        sha256: SHA-256 of the archive.
        member: regular expression that matches the names of example files, with the groups
            ``part`` (the authors' own split) and ``label``.
        examples: number of examples.
        encoding: encoding of the example files.
        labels: label in the archive -> label in the CSV; other labels are unchanged.
    """

    url: str
    archive: str
    sha256: str
    member: str
    examples: int
    encoding: str
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)


DATASETS: Mapping[str, Dataset] = {
    "imdb": Dataset(
        url="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
        archive="aclImdb_v1.tar.gz",
        sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
        member=r"aclImdb/(?P<part>train|test)/(?P<label>neg|pos)/[^/]+\.txt",
        examples=50_000,
        encoding="utf-8",
        labels={"neg": "negative", "pos": "positive"},
    ),
    "newsgroups": Dataset(
        url="https://ndownloader.figshare.com/files/5975967",
        archive="20news-bydate.tar.gz",
        sha256="8f1b2514ca22a5ade8fbb9cfa5727df95fa587f4c87b786e15c759fa66d95610",
        member=r"20news-bydate-(?P<part>train|test)/(?P<label>[^/]+)/[^/]+",
        examples=18_846,
        encoding="latin-1",
    ),
}

_MAX_ARCHIVE_BYTES = 256 << 20
_MAX_FILE_BYTES = 1 << 20
_MAX_TOTAL_BYTES = 1 << 30


def fetch(name: str, destination: Path, source_path: Path | None = None) -> int:
    """Write a data set as CSV with the columns ``text``, ``label`` and ``part``.

    Args:
        name: a key of ``DATASETS``.
        destination: the CSV file to write, completely or not at all. ``part`` is the authors' own
            split (train or test), which the pipeline ignores but can slice by.
        source_path: path of the original archive; None downloads it.

    Returns:
        The number of rows written.

    Raises:
        UserError: the data set does not exist.
        DataError: the archive cannot be read or downloaded, or is not the expected one.
    """
    dataset = DATASETS.get(name)
    if dataset is None:
        raise UserError(_unknown(name))
    destination = Path(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    if source_path is not None:
        check_digest(Path(source_path), dataset.sha256)
        return _convert(dataset, Path(source_path), destination)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{name}-") as folder:
        archive = Path(folder) / dataset.archive
        download(dataset.url, archive, max_bytes=_MAX_ARCHIVE_BYTES, sha256=dataset.sha256)
        return _convert(dataset, archive, destination)


def _unknown(name: str) -> str:
    message = f"unknown data set {name!r}; must be one of {', '.join(DATASETS)}"
    near = difflib.get_close_matches(name, DATASETS, n=1)
    return f"{message}; did you mean {near[0]}?" if near else message


def _convert(dataset: Dataset, archive: Path, destination: Path) -> int:
    rows: list[tuple[bytes, tuple[str, str, str]]] = []
    member = re.compile(dataset.member)
    texts = archive_texts(archive, max_file_bytes=_MAX_FILE_BYTES, max_total_bytes=_MAX_TOTAL_BYTES)
    for name, content in texts:
        found = member.fullmatch(name.removeprefix("./"))
        if not found:
            continue
        text = content.decode(dataset.encoding).replace("\r\n", "\n").replace("\r", "\n")
        label = dataset.labels.get(found["label"], found["label"])
        # Archives are sorted by label. Sorting by a digest shuffles them reproducibly.
        order = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        rows.append((order, (text, label, found["part"])))
    if len(rows) != dataset.examples:
        raise DataError(f"{archive} has {len(rows)} examples, must have {dataset.examples}")
    _write_csv([row for _, row in sorted(rows)], destination)
    return len(rows)


def _write_csv(rows: list[tuple[str, str, str]], destination: Path) -> None:
    with whole_file(destination) as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
