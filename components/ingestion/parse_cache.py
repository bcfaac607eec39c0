"""Cache of parsed sources, so that later runs parse only new or changed files.

An entry holds everything that parsing one source yields: examples, quarantined rows and counts. Its
name is a digest of all inputs that affect the result, so a stale entry is never found. An entry is
a sequence of frames, each with a digest over the entry's name, the frame's number and its content,
so a damaged, truncated or foreign entry is detected at the first bad frame.
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

#: Entries that none of this many last runs used are removed.
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
    """A cache entry that does not exist or is damaged."""


def entry_key(
    source: Source, content_digest: str, settings: IngestionSettings, code_digest: str
) -> str:
    """Return the name of a source's entry: a digest of everything that affects parsing.

    Args:
        source: the source.
        content_digest: digest of its content, see ``sources.content_digests``.
        settings: columns and rules are part of the digest; the split, applied after parsing, is
            not.
        code_digest: digest of the code that reads.

    Returns:
        64 hexadecimal digits.
    """
    columns, rules = settings.columns, settings.rules
    parts = [
        _FORMAT,
        code_digest,
        sys.version_info[:2],
        unicodedata.unidata_version,
        importlib.metadata.version("pyarrow") if source.format == PARQUET else "",
        source.path,  # quarantined rows name the path
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
    """Writer of one entry: call ``add`` for each example, then ``finish``."""

    def __init__(self, stream: BinaryIO, key: str) -> None:
        """Write to an open file, which the caller closes and renames."""
        self._stream = stream
        self._key = key
        self._frames = 0
        self._waiting: list[bytes] = []
        self._bytes = 0

    def add(self, example: ParsedExample) -> None:
        """Add one example. Call in the order of parsing."""
        identity, label, serialised = example
        name = label.encode()
        lengths = _LENGTHS.pack(len(identity), len(name), len(serialised))
        self._waiting += (lengths, identity, name, serialised)
        self._bytes += len(name) + len(serialised)
        if self._bytes >= _FRAME_BYTES:
            self._flush()

    def finish(self, quarantine: BinaryIO, report: dict[str, object]) -> None:
        """Write the remaining examples, the quarantined rows and the counts.

        Args:
            quarantine: the quarantined rows as JSON lines, read from the current position.
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
    """Reader of one entry: call ``examples``, ``quarantine`` and ``report``, in this order."""

    def __init__(self, stream: BinaryIO, key: str) -> None:
        """Read from an open file that the caller closes."""
        self._stream = stream
        self._key = key
        self._frames = 0
        self._next: tuple[bytes, bytes] | None = None

    def examples(self) -> Iterator[ParsedExample]:
        """Yield the examples.

        Raises:
            EntryError: the entry is damaged at this point. Examples yielded so far are valid.
        """
        while content := self._take(_EXAMPLES):
            yield from _unpacked(content)

    def quarantine(self) -> Iterator[bytes]:
        """Yield the quarantined rows in chunks that may end within a row.

        Raises:
            EntryError: the entry is damaged at this point.
        """
        while content := self._take(_QUARANTINE):
            yield content

    def report(self) -> dict[str, Any]:
        """Return the counts, the JSON values of ``IngestionReport.to_json``.

        Raises:
            EntryError: the entry is damaged at this point.
        """
        content = self._take(_REPORT)
        if content is None:
            raise EntryError("the entry ends early")
        found: dict[str, Any] = json.loads(content)
        return found

    def _take(self, kind: bytes) -> bytes | None:
        """Consume the next frame and return its content if it is of this kind, else None."""
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
        EntryError: the entry does not exist or cannot be read.
    """
    try:
        if not fileio.exists(path):
            raise EntryError("does not exist")
        stream: BinaryIO = fileio.open(path, "rb")
    except _FAILURES as error:
        raise EntryError(str(error)) from None
    return stream


def keep(directory: str, used: Sequence[str], made: dict[str, str]) -> None:
    """Add a run's new entries, and remove entries that none of the last ``KEPT_RUNS`` runs used.

    A cache that cannot be written only costs time, so the failure is logged and not raised.

    Args:
        directory: folder of the cache.
        used: keys of all sources of the run.
        made: key -> path of each entry that the run wrote.
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
        logging.warning("cannot write the cache of parsed files %s: %s", directory, error)


def _install(path: str, directory: str, key: str) -> None:
    """Copy, because the run's own folder may be on another file system, then rename."""
    unfinished = os.path.join(directory, f"{key}.{uuid.uuid4().hex}.part")
    fileio.copy(path, unfinished, overwrite=True)
    fileio.rename(unfinished, entry_path(directory, key), overwrite=True)


def _uses(directory: str) -> list[list[str]]:
    """Return the keys that each of the last runs used; a damaged file counts as empty."""
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
