"""Public data sets: where they come from, how they are checked and turned into CSV.

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
    """A data set and how to read its archive.

    Attributes:
        url: where the original archive is.
        archive: the archive's file name.
        sha256: its digest.
        member: matches the names of the files that are examples, with the groups ``part`` (the
            authors' own split) and ``label``.
        examples: how many of them there are.
        encoding: of the files.
        labels: label in the archive -> label in the CSV; others stay as they are.
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
        destination: the CSV file to write, whole or not at all. ``part`` is the authors' own split
            (train or test); the pipeline splits by itself, but may slice by it.
        source_path: the original archive, if it is on this machine already; None: download it.

    Returns:
        How many rows were written.

    Raises:
        UserError: no such data set.
        DataError: the archive cannot be had, or is another one than expected.
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
    message = f"no data set is called {name!r}; there are: {', '.join(DATASETS)}"
    near = difflib.get_close_matches(name, DATASETS, n=1)
    return f"{message}. Did you mean {near[0]}?" if near else message


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
        # Archives are sorted by label. A digest shuffles them, the same way each time.
        order = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        rows.append((order, (text, label, found["part"])))
    if len(rows) != dataset.examples:
        raise DataError(f"{archive} holds {len(rows)} examples, expected {dataset.examples}")
    _write_csv([row for _, row in sorted(rows)], destination)
    return len(rows)


def _write_csv(rows: list[tuple[str, str, str]], destination: Path) -> None:
    with whole_file(destination) as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
