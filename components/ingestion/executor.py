"""ExampleGen's executor: files of labelled text to TFRecords of tf.Examples, by Beam."""

import collections
import dataclasses
import json
import math
import os
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from tfx import types
from tfx.components.example_gen import driver as tfx_driver
from tfx.components.example_gen import utils
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs

from components.ingestion.quarantine import QUARANTINE_FILE, QUARANTINE_FOLDER
from components.ingestion.report import IngestionReport
from components.ingestion.settings import INPUT_ERROR, IngestionSettings
from components.ingestion.sources import Source, find_sources, fingerprint, total_bytes
from components.ingestion.spans import resolve_spans
from components.ingestion.transforms import ReadSource, WriteShard
from modules import features, progress
from modules.errors import DataError

#: A shard is sorted in memory, so it must stay small.
_SHARD_BYTES = 128 << 20

_SHOWN_LABELS = 5


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads, checks, splits and writes."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Run the component.

        Args:
            input_dict: empty.
            output_dict: ``examples``: one ``Examples`` artifact with the splits of
                ``features.SPLITS``.
            exec_properties: ``IngestionSettings.to_exec_properties`` and what the driver adds.

        Raises:
            DataError: the data stops the run.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        if exec_properties.get(INPUT_ERROR):
            raise DataError(exec_properties[INPUT_ERROR])
        settings = IngestionSettings.from_exec_properties(exec_properties)
        examples = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.EXAMPLES_KEY]
        )
        sources, promised = _sources(settings, exec_properties)
        counts = self._ingest(settings, sources, examples, promised)
        if fingerprint(sources) != promised:
            raise DataError("the data changed while it was read; run again once it stands still")
        _record(counts, exec_properties, examples)

    def _ingest(
        self,
        settings: IngestionSettings,
        sources: Sequence[Source],
        examples: types.Artifact,
        promised: str,
    ) -> "_Counts":
        working = os.path.join(examples.uri, ".ingestion")
        split_folders = {
            split: os.path.join(examples.uri, f"Split-{split}") for split in features.SPLITS
        }
        for folder in (working, *split_folders.values()):
            fileio.makedirs(folder)
        shards = max(1, math.ceil(total_bytes(sources) / _SHARD_BYTES))
        with self._make_beam_pipeline() as pipeline:
            (
                pipeline
                | "Sources" >> beam.Create(list(enumerate(sources)))
                | "SpreadSources" >> beam.Reshuffle()
                | "ReadSource" >> beam.ParDo(ReadSource(settings, shards, working))
                | "GroupByShard" >> beam.GroupByKey()
                | "WriteShard" >> beam.ParDo(WriteShard(split_folders, shards, working))
            )
        report = IngestionReport.merged(
            IngestionReport.from_json(found) for found in _reports(working, "report-")
        )
        quarantine = _gather_quarantine(working, examples.uri)
        kept = _kept_quarantine(settings, examples.uri, promised)
        _refuse_bad_rows(report, settings, quarantine, kept)
        counts = _Counts.of(report, _reports(working, "shard-"))
        counts.refuse_unfit()
        fileio.rmtree(working)
        return counts


def _refuse_bad_rows(
    report: IngestionReport, settings: IngestionSettings, quarantine: str, kept: str
) -> None:
    if report.error:
        raise DataError(report.error)
    if not report.rows:
        paths = ", ".join(settings.paths)
        raise DataError(f"{paths}: no row of data, only a header or nothing at all")
    refusal = report.refusal(settings.max_bad_share, kept)
    if refusal:
        fileio.makedirs(os.path.dirname(kept))
        fileio.copy(quarantine, kept + ".part", overwrite=True)
        fileio.rename(kept + ".part", kept, overwrite=True)
        raise DataError(refusal)


def _kept_quarantine(settings: IngestionSettings, uri: str, promised: str) -> str:
    """Return where a run that stops leaves its quarantine file; TFX removes what it failed to make.

    The name is that of the data, so the same bad data writes the same file each time.
    """
    directory = settings.quarantine_directory
    if not directory:
        # TFX: <pipeline root>/<component>/<output>/<execution>
        root = os.path.dirname(os.path.dirname(os.path.dirname(uri.rstrip("/"))))
        directory = os.path.join(root, QUARANTINE_FOLDER)
    return os.path.join(directory, f"ExampleGen-{promised[:12]}.jsonl")


def _sources(
    settings: IngestionSettings, exec_properties: dict[str, Any]
) -> tuple[list[Source], str]:
    """Return the sources and their fingerprint; platforms without custom drivers get both here."""
    paths, span, version = resolve_spans(settings.paths)
    sources = find_sources(paths, settings.data_format)
    if not exec_properties.get(utils.FINGERPRINT_PROPERTY_NAME):
        exec_properties[utils.FINGERPRINT_PROPERTY_NAME] = fingerprint(sources)
        exec_properties[utils.SPAN_PROPERTY_NAME] = span
        exec_properties[utils.VERSION_PROPERTY_NAME] = version
    return sources, exec_properties[utils.FINGERPRINT_PROPERTY_NAME]


def _reports(working: str, prefix: str) -> list[dict[str, Any]]:
    found = []
    for name in sorted(fileio.listdir(working)):
        if name.startswith(prefix) and name.endswith(".json"):
            with fileio.open(os.path.join(working, name)) as stream:
                found.append(json.loads(stream.read()))
    return found


def _gather_quarantine(working: str, uri: str) -> str:
    """Put the bad rows of all sources into one file, in the order of the sources."""
    folder = os.path.join(uri, QUARANTINE_FOLDER)
    fileio.makedirs(folder)
    path = os.path.join(folder, QUARANTINE_FILE)
    with fileio.open(path, "wb") as target:
        target.write(b"")  # TensorFlow's file system makes a file at the first write only.
        for name in sorted(fileio.listdir(working)):
            if name.startswith("rows-") and name.endswith(".jsonl"):
                with fileio.open(os.path.join(working, name), "rb") as part:
                    while chunk := part.read(1 << 20):
                        target.write(chunk)
    return path


@dataclasses.dataclass
class _Counts:
    """What the run did, for the artifact's properties."""

    report: IngestionReport
    labels: dict[str, collections.Counter[str]]
    duplicates: int = 0
    conflicting: int = 0

    @classmethod
    def of(cls, report: IngestionReport, shards: Sequence[dict[str, Any]]) -> "_Counts":
        counts = cls(report, {split: collections.Counter() for split in features.SPLITS})
        for shard in shards:
            counts.labels[shard["split"]].update(shard["labels"])
            counts.duplicates += shard["duplicates"]
            counts.conflicting += shard["conflicting"]
        return counts

    def refuse_unfit(self) -> None:
        """Stop on data that no classifier can be trained on, before anything else runs."""
        per_split = {split: labels.total() for split, labels in self.labels.items()}
        if sum(per_split.values()) != self.report.examples:
            raise RuntimeError(f"{self.report.examples} examples were read, {per_split} written")
        whole = sum(self.labels.values(), collections.Counter[str]())
        if len(whole) == 1:
            raise DataError(
                f"all {whole.total()} examples have the label {next(iter(whole))!r}; a classifier "
                "needs two labels or more. Is data.label_column the right one?"
            )
        empty = [split for split, count in per_split.items() if not count]
        if empty:
            raise DataError(
                f"{whole.total()} examples are too few: none fell to the split {empty[0]!r} "
                f"({per_split}). Add examples or raise data.split.{empty[0]}"
            )
        unseen = sorted(whole.keys() - self.labels[features.TRAIN_SPLIT].keys())
        if unseen:
            shown = ", ".join(f"{label!r} ({whole[label]})" for label in unseen[:_SHOWN_LABELS])
            raise DataError(
                f"{len(unseen)} of {len(whole)} labels have no example in the train split, so they "
                f"cannot be learned: {shown}. Add examples of them, or list the labels to keep in "
                "data.labels. Is data.label_column the right one?"
            )


def _record(counts: _Counts, exec_properties: dict[str, Any], examples: types.Artifact) -> None:
    """Set the artifact's properties, those that TFX expects and the counts."""
    examples.split_names = artifact_utils.encode_split_names(list(features.SPLITS))
    tfx_driver.update_output_artifact(
        {utils.VERSION_PROPERTY_NAME: None, **exec_properties}, examples.mlmd_artifact
    )
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, "tfrecords_gzip")
    report = counts.report
    numbers = {
        "examples": report.examples,
        "quarantined": report.quarantined,
        "duplicate_texts": counts.duplicates,
        "conflicting_texts": counts.conflicting,
    }
    for name, number in numbers.items():
        examples.set_int_custom_property(name, number)
    examples.set_string_custom_property("quarantine_reasons", json.dumps(report.reasons))
    examples.set_string_custom_property("label_counts", json.dumps(counts.labels, sort_keys=True))
    progress.emit("ingested", component="ExampleGen", **numbers, reasons=report.reasons)
