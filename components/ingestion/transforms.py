"""Beam steps of ExampleGen: read a source, write a shard.

Each step writes its counts to its own JSON file, and the executor adds them up afterwards: support
for Beam's own counters is optional for runners, and a retried bundle may be counted twice.
"""

import collections
import itertools
import json
import os
from collections.abc import Iterable, Iterator

import apache_beam as beam
import tensorflow as tf
from tfx.dsl.io import fileio

from components.ingestion.resolution import SpannedExample, resolve
from components.ingestion.settings import IngestionSettings
from components.ingestion.source_parsing import SourceReader, new_entry_path, relabelled_example
from components.ingestion.sources import Source
from components.ingestion.splitting import shard_of
from modules.contract import features

#: (split, shard number): the output file of an example.
Shard = tuple[str, int]

#: Takes a fifth of the time of zlib's default level, for files a sixth larger (measured on 25,000
#: film reviews).
_COMPRESSION = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)

_REPORT = "report-{:05d}.json"
_ROWS = "rows-{:05d}.jsonl"
_SHARD_REPORT = "shard-{}-{:05d}.json"


def write_whole(path: str, content: str) -> None:
    """Write a text file under a temporary name and rename it, so that no partial file remains.

    Uses fileio, because the pipeline root may be an object store, which
    ``modules.contract.atomic_file`` cannot write to.
    """
    unfinished = f"{path}.part"
    with fileio.open(unfinished, "w") as stream:
        stream.write(content)
    fileio.rename(unfinished, path, overwrite=True)


class ReadSource(beam.DoFn):
    """Step that reads one source: (number, source, cache key) -> (shard, example).

    Bad rows, counts and a new cache entry are written to files.
    """

    def __init__(self, settings: IngestionSettings, shards: int, directory: str) -> None:
        """Create the step.

        Args:
            settings: columns, rules, split and cache.
            shards: number of output files of each split.
            directory: folder for the bad rows, the counts and new cache entries.
        """
        self._settings = settings
        self._shards = shards
        self._directory = directory

    def process(self, element: tuple[int, Source, str]) -> Iterator[tuple[Shard, SpannedExample]]:
        """Yield the examples of a source.

        Args:
            element: number, source and cache key.

        Yields:
            The shard, and the example.
        """
        number, source, key = element
        rows = os.path.join(self._directory, _ROWS.format(number))
        reader = SourceReader(source, self._settings, rows + ".part", key)
        for example in reader.examples(new_entry_path(self._directory, number)):
            identity, label, serialised = example
            split = self._settings.split.split_of(identity)
            shard = (split, shard_of(identity, self._shards))
            yield shard, (identity, source.span, label, serialised)
        fileio.rename(rows + ".part", rows, overwrite=True)
        counts = json.dumps(reader.report.to_json())
        write_whole(os.path.join(self._directory, _REPORT.format(number)), counts)


class WriteShard(beam.DoFn):
    """Step that writes one TFRecord file: (shard, its examples) -> nothing.

    A shard has all copies of a text, so this step merges feedback into the data. Examples are
    sorted by the identity of their text: the file then depends only on the data, not on the order
    of rows and bundles, and an input sorted by label does not stay sorted.
    """

    def __init__(self, split_folders: dict[str, str], shards: int, directory: str) -> None:
        """Create the step.

        Args:
            split_folders: split -> its folder.
            shards: number of output files of each split.
            directory: folder for the counts.
        """
        self._split_folders = split_folders
        self._shards = shards
        self._directory = directory

    def process(self, element: tuple[Shard, Iterable[SpannedExample]]) -> None:
        """Write the file and its counts.

        Args:
            element: the shard and its examples, in any order.
        """
        (split, number), examples = element
        ordered, outcomes = resolve(
            examples, held_out=split == features.TEST_SPLIT, relabel=relabelled_example
        )
        name = f"data_tfrecord-{number:05d}-of-{self._shards:05d}.gz"
        path = os.path.join(self._split_folders[split], name)
        unfinished = os.path.join(self._directory, f"{split}-{name}.part")
        with tf.io.TFRecordWriter(unfinished, options=_COMPRESSION) as writer:
            for *_, serialised in ordered:
                writer.write(serialised)
        fileio.rename(unfinished, path, overwrite=True)
        write_whole(
            os.path.join(self._directory, _SHARD_REPORT.format(split, number)),
            json.dumps({"split": split, "feedback": outcomes, **_shard_counts(ordered)}),
        )


def _shard_counts(ordered: list[SpannedExample]) -> dict[str, object]:
    """Count labels, duplicates and conflicts. All copies of a text are in one shard."""
    groups = itertools.groupby(ordered, key=lambda example: example[0])
    labels_of_text = [{label for _, _, label, _ in copies} for _, copies in groups]
    return {
        "labels": collections.Counter(label for _, _, label, _ in ordered),
        "duplicates": len(ordered) - len(labels_of_text),
        "conflicting": sum(len(labels) > 1 for labels in labels_of_text),
    }
