"""Parsed sources, kept for later runs: what was read once is not parsed again.

An entry holds all that parsing one source gave: examples, quarantined rows and counts. Its name is
a digest of all that the outcome depends on, so an entry is right or is not found. It is a row of
frames, each with a digest over the entry's name, the frame's number and its content: a damaged, cut
or foreign entry shows at the frame where it starts.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import struct
import sys
import unicodedata
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import tensorflow as tf
from absl import logging
from tfx.dsl.io import fileio

from components.ingestion.settings import IngestionSettings
from components.ingestion.sources import PARQUET, Source

#: Entries that none of the last runs used are removed.
KEPT_RUNS = 5

#: (identity of the text, label, serialised tf.Example)
ParsedExample = tuple[bytes, str, bytes]

_FORMAT = 1
_SUFFIX = ".entry"
_USES = "uses.json"
_OWN_FILE = re.compile(r"[0-9a-f]{64}(\.entry|\.[0-9a-f]{32}\.part)")

_EXAMPLES, _QUARANTINE, _REPORT = b"E", b"Q", b"R"
#: kind, bytes of the content, digest
_FRAME = struct.Struct("<cI16s")
#: bytes of identity, label and example
_LENGTHS = struct.Struct("<HII")
_FRAME_BYTES = 1 << 20

_FAILURES = (OSError, tf.errors.OpError)


class EntryError(Exception):
    """An entry that is not there, or is not what was written."""


def entry_key(
    source: Source, content_digest: str, settings: IngestionSettings, code_digest: str
) -> str:
    """Return the name of a source's entry: a digest of all that decides how it is parsed.

    Args:
        source: the source.
        content_digest: of what it holds, see ``sources.content_digests``.
        settings: columns and rules enter; the split does not, it is decided after parsing.
        code_digest: of the reading code.
    """
    columns, rules = settings.columns, settings.rules
    parts = [
        _FORMAT,
        code_digest,
        sys.version_info[:2],
        unicodedata.unidata_version,
        importlib.metadata.version("pyarrow") if source.format == PARQUET else "",
        source.path,  # quarantined rows name it
        source.format,
        bool(source.span),
        content_digest,
        [columns.text, columns.label, columns.slices],
        [rules.max_text_bytes, sorted(rules.labels)],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def entry_keys(
    sources: Sequence[Source], digests: Sequence[str], settings: IngestionSettings, code_digest: str
) -> list[str]:
    """Return ``entry_key`` of each source."""
    pairs = zip(sources, digests, strict=True)
    return [entry_key(source, digest, settings, code_digest) for source, digest in pairs]


def entry_path(directory: str, key: str) -> str:
    """Return the path of an entry in the cache."""
    return os.path.join(directory, key + _SUFFIX)


class EntryWriter:
    """Writes one entry: examples as they come, then ``finish``."""

    def __init__(self, stream: BinaryIO, key: str) -> None:
        """Write into an open file that the caller closes and names."""
        self._stream = stream
        self._key = key
        self._frames = 0
        self._waiting: list[bytes] = []
        self._bytes = 0

    def add(self, example: ParsedExample) -> None:
        """Write one example, in the order in which they were parsed."""
        identity, label, serialised = example
        name = label.encode()
        lengths = _LENGTHS.pack(len(identity), len(name), len(serialised))
        self._waiting += (lengths, identity, name, serialised)
        self._bytes += len(name) + len(serialised)
        if self._bytes >= _FRAME_BYTES:
            self._flush()

    def finish(self, quarantine: BinaryIO, report: dict[str, object]) -> None:
        """Write the rest.

        Args:
            quarantine: the quarantined rows as JSON lines, to be read from here to the end.
            report: ``IngestionReport.to_json``.
        """
        self._flush()
        while chunk := quarantine.read(_FRAME_BYTES):
            self._write(_QUARANTINE, chunk)
        self._write(_REPORT, json.dumps(report).encode())

    def _flush(self) -> None:
        if self._waiting:
            self._write(_EXAMPLES, b"".join(self._waiting))
        self._waiting, self._bytes = [], 0

    def _write(self, kind: bytes, content: bytes) -> None:
        digest = _frame_digest(self._key, self._frames, kind, content)
        self._stream.write(_FRAME.pack(kind, len(content), digest) + content)
        self._frames += 1


class Entry:
    """One entry, read in the order written: ``examples``, then ``quarantine`` and ``report``."""

    def __init__(self, stream: BinaryIO, key: str) -> None:
        """Read from an open file that the caller closes."""
        self._stream = stream
        self._key = key
        self._frames = 0
        self._next: tuple[bytes, bytes] | None = None

    def examples(self) -> Iterator[ParsedExample]:
        """Yield the examples.

        Raises:
            EntryError: the entry is damaged from here on. What came before is sound.
        """
        while content := self._take(_EXAMPLES):
            yield from _unpacked(content)

    def quarantine(self) -> Iterator[bytes]:
        """Yield the quarantined rows, cut anywhere.

        Raises:
            EntryError: as above.
        """
        while content := self._take(_QUARANTINE):
            yield content

    def report(self) -> dict[str, Any]:
        """Return the counts.

        Raises:
            EntryError: as above.
        """
        content = self._take(_REPORT)
        if content is None:
            raise EntryError("the entry ends early")
        found: dict[str, Any] = json.loads(content)
        return found

    def _take(self, kind: bytes) -> bytes | None:
        """Return the content of the next frame if it is of this kind, and go past it."""
        if self._next is None:
            self._next = self._read()
        found, content = self._next
        if found != kind:
            return None
        self._next = None
        return content

    def _read(self) -> tuple[bytes, bytes]:
        try:
            head = self._stream.read(_FRAME.size)
            if len(head) < _FRAME.size:
                raise EntryError("the entry ends early")
            kind, length, digest = _FRAME.unpack(head)
            content = self._stream.read(length)
        except _FAILURES as error:
            raise EntryError(str(error)) from None
        if digest != _frame_digest(self._key, self._frames, kind, content):
            raise EntryError(f"frame {self._frames} is damaged")
        self._frames += 1
        return kind, content


def _frame_digest(key: str, number: int, kind: bytes, content: bytes) -> bytes:
    place = f"{key} {number} ".encode() + kind
    return hashlib.blake2b(content, digest_size=16, key=hashlib.sha256(place).digest()).digest()


def _unpacked(content: bytes) -> Iterator[ParsedExample]:
    position = 0
    while position < len(content):
        identity, label, serialised = _LENGTHS.unpack_from(content, position)
        start = position + _LENGTHS.size
        middle, end = start + identity, start + identity + label
        position = end + serialised
        yield content[start:middle], content[middle:end].decode(), content[end:position]


def open_entry(path: str) -> BinaryIO:
    """Open an entry for reading.

    Raises:
        EntryError: it is not there, or may not be read.
    """
    try:
        if not fileio.exists(path):
            raise EntryError("there is none")
        stream: BinaryIO = fileio.open(path, "rb")
    except _FAILURES as error:
        raise EntryError(str(error)) from None
    return stream


def keep(directory: str, used: Sequence[str], made: dict[str, str]) -> None:
    """Take in what a run parsed, and remove what none of the last ``KEPT_RUNS`` runs used.

    A cache that cannot be written costs time, not the run: the failure is logged.

    Args:
        directory: of the cache.
        used: keys of all the run's sources.
        made: key -> path of the entries that the run wrote.
    """
    try:
        fileio.makedirs(directory)
        for key, path in made.items():
            _install(path, directory, key)
        runs = [*_uses(directory), list(used)][-KEPT_RUNS:]
        _remove_unused(directory, {key for run in runs for key in run})
        unfinished = os.path.join(directory, f"{_USES}.{uuid.uuid4().hex}.part")
        with fileio.open(unfinished, "w") as stream:
            stream.write(json.dumps(runs))
        fileio.rename(unfinished, os.path.join(directory, _USES), overwrite=True)
    except _FAILURES as error:
        logging.warning("the cache of parsed files %s cannot be written: %s", directory, error)


def _install(path: str, directory: str, key: str) -> None:
    """Copy, for the run's own folder may lie elsewhere, then rename."""
    unfinished = os.path.join(directory, f"{key}.{uuid.uuid4().hex}.part")
    fileio.copy(path, unfinished, overwrite=True)
    fileio.rename(unfinished, entry_path(directory, key), overwrite=True)


def _uses(directory: str) -> list[list[str]]:
    """Return the keys that each of the last runs used; a damaged record counts as none."""
    path = os.path.join(directory, _USES)
    if not fileio.exists(path):
        return []
    with fileio.open(path) as stream:
        try:
            found = json.loads(stream.read())
        except ValueError:
            return []
    sound = isinstance(found, list) and all(isinstance(run, list) for run in found)
    return found if sound else []


def _remove_unused(directory: str, used: set[str]) -> None:
    for name in fileio.listdir(directory):
        if _OWN_FILE.fullmatch(name) and (name[:64] not in used or not name.endswith(_SUFFIX)):
            fileio.remove(os.path.join(directory, name))
