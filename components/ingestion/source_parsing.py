"""Reading of one source, from the cache or by parsing, into checked and serialised examples."""

import os
from collections.abc import Iterator

import tensorflow as tf
from absl import logging
from tfx.dsl.io import fileio

from components.ingestion import parse_cache
from components.ingestion.quarantine import quarantine_line
from components.ingestion.report import IngestionReport
from components.ingestion.rows import BadRow, LabelledText, check_row
from components.ingestion.settings import IngestionSettings
from components.ingestion.sources import Source
from modules.contract import features
from modules.contract.errors import DataError
from modules.contract.text_identity import text_identity


class SourceReader:
    """Single-use reader of one source.

    Attributes:
        report: the counts, complete once ``examples`` is exhausted.
    """

    def __init__(
        self, source: Source, settings: IngestionSettings, rows_file: str, key: str = ""
    ) -> None:
        """Create the reader.

        Args:
            source: the source.
            settings: columns, rules and the cache's folder.
            rows_file: path to write the quarantined rows to.
            key: name of the source's cache entry; empty: no cache.
        """
        self.report = IngestionReport()
        self._source = source
        self._settings = settings
        self._rows_file = rows_file
        self._key = key

    def examples(self, new_entry: str) -> Iterator[parse_cache.ParsedExample]:
        """Yield the examples in the order of the source.

        Args:
            new_entry: path to write a cache entry to if the source is parsed.
        """
        sound = 0
        if self._key:
            try:
                for example in self._from_cache():
                    sound += 1
                    yield example
            except parse_cache.EntryError as error:
                logging.info("parsing %s: its cache entry: %s", self._source.path, error)
            else:
                return
        # Parsing yields the same examples in the same order, so skip those already yielded.
        for number, example in enumerate(self._parsed_and_kept(new_entry)):
            if number >= sound:
                yield example

    def _from_cache(self) -> Iterator[parse_cache.ParsedExample]:
        path = parse_cache.entry_path(self._settings.cache_directory, self._key)
        with parse_cache.open_entry(path) as stream:
            entry = parse_cache.Entry(stream, self._key)
            yield from entry.examples()
            with fileio.open(self._rows_file, "wb") as quarantine:
                quarantine.write(b"")  # TensorFlow's file system creates it on the first write.
                for chunk in entry.quarantine():
                    quarantine.write(chunk)
            self.report = IngestionReport.from_json(entry.report())
        self.report.from_cache = 1

    def _parsed_and_kept(self, new_entry: str) -> Iterator[parse_cache.ParsedExample]:
        if not self._key:
            yield from self._parsed()
            return
        with fileio.open(new_entry + ".part", "wb") as stream:
            writer = parse_cache.EntryWriter(stream, self._key)
            for example in self._parsed():
                writer.add(example)
                yield example
            with fileio.open(self._rows_file, "rb") as quarantine:
                writer.finish(quarantine, self.report.to_json())
        # An entry holds a whole source.
        if not self.report.error and not self.report.stopped:
            fileio.rename(new_entry + ".part", new_entry, overwrite=True)

    def _parsed(self) -> Iterator[parse_cache.ParsedExample]:
        self.report = IngestionReport(sources=1)
        columns, rules = self._settings.columns, self._settings.rules
        with fileio.open(self._rows_file, "w") as quarantine:
            quarantine.write("")  # TensorFlow's file system creates the file on the first write.
            try:
                for path, row in self._source.read(columns, rules.max_text_bytes):
                    checked = row if isinstance(row, BadRow) else check_row(row, rules)
                    if isinstance(checked, BadRow):
                        self.report.add_bad(path, checked)
                        quarantine.write(quarantine_line(path, checked))
                        if self.report.stops(self._source.path, self._settings.max_bad_share):
                            return
                    else:
                        self.report.examples += 1
                        self.report.feedback += bool(self._source.span)
                        yield self._example(checked)
            except DataError as error:
                # The executor raises it later: a Beam runner would bury it in its own traceback.
                self.report.error = str(error)

    def _example(self, row: LabelledText) -> parse_cache.ParsedExample:
        values = {features.TEXT: row.text, features.LABEL: row.label}
        values |= dict(zip(self._settings.columns.slices, row.slices, strict=True))
        return text_identity(row.text), row.label, serialised_example(values)


def new_entry_path(directory: str, number: int) -> str:
    """Return the path of a source's new cache entry until the run has succeeded."""
    return os.path.join(directory, f"entry-{number:05d}")


def serialised_example(values: dict[str, str]) -> bytes:
    """Return a serialised tf.Example with one bytes[1] feature per value, deterministically."""
    feature = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
        for name, value in values.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    serialised: bytes = example.SerializeToString(deterministic=True)
    return serialised


def relabelled_example(serialised: bytes, label: str) -> bytes:
    """Return a copy of a serialised tf.Example with another label."""
    example = tf.train.Example.FromString(serialised)
    example.features.feature[features.LABEL].bytes_list.value[:] = [label.encode()]
    changed: bytes = example.SerializeToString(deterministic=True)
    return changed
