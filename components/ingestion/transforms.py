"""The Beam steps of ExampleGen: read a source, write a shard.

Each step leaves its counts in a JSON file of its own, which the executor adds up afterwards:
counters of Beam itself are optional for runners, and may count a retried bundle twice.
"""

import collections
import json
import os
from collections.abc import Iterable, Iterator

import apache_beam as beam
import tensorflow as tf
from tfx.dsl.io import fileio

from components.ingestion.quarantine import quarantine_line
from components.ingestion.report import IngestionReport
from components.ingestion.rows import BadRow, LabelledText, check_row
from components.ingestion.settings import IngestionSettings
from components.ingestion.sources import Source
from components.ingestion.splitting import shard_of
from modules import features
from modules.errors import DataError
from modules.text_identity import text_identity

#: (split, shard number): which file an example goes to.
Shard = tuple[str, int]
#: (identity of the text, label, serialised tf.Example)
IdentifiedExample = tuple[bytes, str, bytes]

_REPORT = "report-{:05d}.json"
_ROWS = "rows-{:05d}.jsonl"
_SHARD_REPORT = "shard-{}-{:05d}.json"


def write_whole(path: str, content: str) -> None:
    """Write a text file aside and rename it, so that a retried step never leaves half of one."""
    unfinished = f"{path}.part"
    with fileio.open(unfinished, "w") as stream:
        stream.write(content)
    fileio.rename(unfinished, path, overwrite=True)


class ReadSource(beam.DoFn):
    """Reads a numbered source: (number, source) -> examples for shards, bad rows into a file."""

    def __init__(self, settings: IngestionSettings, shards: int, directory: str) -> None:
        """Take what every source is read with.

        Args:
            settings: columns, rules and split.
            shards: how many files each split has.
            directory: where the bad rows and the counts go.
        """
        self._settings = settings
        self._shards = shards
        self._directory = directory

    def process(self, element: tuple[int, Source]) -> Iterator[tuple[Shard, IdentifiedExample]]:
        """Yield the source's examples."""
        number, source = element
        report = IngestionReport()
        bad_rows = os.path.join(self._directory, _ROWS.format(number))
        with fileio.open(bad_rows + ".part", "w") as quarantine:
            quarantine.write("")  # TensorFlow's file system makes a file at the first write only.
            try:
                for path, row in source.read(
                    self._settings.columns, self._settings.rules.max_text_bytes
                ):
                    checked = (
                        row if isinstance(row, BadRow) else check_row(row, self._settings.rules)
                    )
                    if isinstance(checked, BadRow):
                        report.add_bad(path, checked)
                        quarantine.write(quarantine_line(path, checked))
                    else:
                        report.examples += 1
                        yield self._example(checked)
            except DataError as error:
                # Raised later, by the executor: a runner would bury it under its own traceback.
                report.error = str(error)
        fileio.rename(bad_rows + ".part", bad_rows, overwrite=True)
        write_whole(
            os.path.join(self._directory, _REPORT.format(number)), json.dumps(report.to_json())
        )

    def _example(self, row: LabelledText) -> tuple[Shard, IdentifiedExample]:
        identity = text_identity(row.text)
        shard = (self._settings.split.split_of(identity), shard_of(identity, self._shards))
        values = {features.TEXT: row.text, features.LABEL: row.label}
        values |= dict(zip(self._settings.columns.slices, row.slices, strict=True))
        return shard, (identity, row.label, serialised_example(values))


def serialised_example(values: dict[str, str]) -> bytes:
    """Return a tf.Example with one bytes[1] feature for each value, the same bytes every time."""
    feature = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
        for name, value in values.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    serialised: bytes = example.SerializeToString(deterministic=True)
    return serialised


class WriteShard(beam.DoFn):
    """Writes one TFRecord file: (shard, its examples) -> nothing.

    Examples are sorted by the identity of their text. That makes the file a function of the data
    alone, whatever the order of rows and bundles, and leaves no trace of an input sorted by label.
    """

    def __init__(self, split_folders: dict[str, str], shards: int, directory: str) -> None:
        """Take where to write.

        Args:
            split_folders: the folder of each split.
            shards: how many files each split has.
            directory: where the counts go.
        """
        self._split_folders = split_folders
        self._shards = shards
        self._directory = directory

    def process(self, element: tuple[Shard, Iterable[IdentifiedExample]]) -> None:
        """Write the shard."""
        (split, number), examples = element
        ordered = sorted(examples)
        name = f"data_tfrecord-{number:05d}-of-{self._shards:05d}.gz"
        path = os.path.join(self._split_folders[split], name)
        unfinished = os.path.join(self._directory, f"{split}-{name}.part")
        with tf.io.TFRecordWriter(unfinished, options="GZIP") as writer:
            for _, _, serialised in ordered:
                writer.write(serialised)
        fileio.rename(unfinished, path, overwrite=True)
        write_whole(
            os.path.join(self._directory, _SHARD_REPORT.format(split, number)),
            json.dumps({"split": split, **_shard_counts(ordered)}),
        )


def _shard_counts(ordered: list[IdentifiedExample]) -> dict[str, object]:
    """Count what only the whole shard shows. All copies of a text are in one shard."""
    labels_of_text = collections.defaultdict(set)
    for identity, label, _ in ordered:
        labels_of_text[identity].add(label)
    return {
        "labels": collections.Counter(label for _, label, _ in ordered),
        "duplicates": len(ordered) - len(labels_of_text),
        "conflicting": sum(len(labels) > 1 for labels in labels_of_text.values()),
    }
