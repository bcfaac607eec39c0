"""ExampleGen's executor: turns files of labelled text into TFRecords of tf.Examples with Beam."""

import json
import math
import os
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from absl import logging
from tfx import types
from tfx.components.example_gen import driver as tfx_driver
from tfx.components.example_gen import utils
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs

from components.artifacts import Artifacts
from components.ingestion import parse_cache
from components.ingestion.counts import Counts
from components.ingestion.input_data import FEEDBACK_SPANS, find_input
from components.ingestion.quarantine import QUARANTINE_FILE, QUARANTINE_FOLDER
from components.ingestion.report import IngestionReport
from components.ingestion.settings import INPUT_ERROR, IngestionSettings
from components.ingestion.source_parsing import new_entry_path
from components.ingestion.sources import (
    Source,
    combined_fingerprint,
    content_digests,
    fingerprint,
    total_bytes,
)
from components.ingestion.transforms import ReadSource, WriteShard
from modules.contract import features, progress
from modules.contract.errors import DataError

#: Each shard is sorted in memory, so it must stay small.
_SHARD_BYTES = 128 << 20


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor that reads, checks, splits and writes the examples."""

    def Do(  # noqa: N802
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Run the component.

        Args:
            input_dict: empty.
            output_dict: ``examples``: one ``Examples`` artifact with the splits of
                ``features.SPLITS``.
            exec_properties: ``IngestionSettings.to_exec_properties``, with the properties that the
                driver adds.

        Raises:
            DataError: the data is missing, unreadable, changed during the run, has too many bad
                rows, or cannot train a classifier.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        if exec_properties.get(INPUT_ERROR):
            raise DataError(exec_properties[INPUT_ERROR])
        settings = IngestionSettings.from_exec_properties(exec_properties)
        examples = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.EXAMPLES_KEY]
        )
        sources, digests = _sources(settings, exec_properties)
        keys = [""] * len(sources)
        if settings.cache_directory:
            code = str(exec_properties.get("code_digest", ""))
            keys = parse_cache.entry_keys(sources, digests, settings, code)
        counts = self._ingest(settings, sources, keys, examples, combined_fingerprint(digests))
        _record(counts, exec_properties, examples)

    def _ingest(
        self,
        settings: IngestionSettings,
        sources: Sequence[Source],
        keys: Sequence[str],
        examples: types.Artifact,
        promised: str,
    ) -> Counts:
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
                | "Sources" >> beam.Create(list(zip(range(len(keys)), sources, keys, strict=True)))
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
        counts = Counts.of(report, _reports(working, "shard-"))
        counts.refuse_unfit()
        if fingerprint(sources) != promised:
            raise _changed()
        if settings.cache_directory:
            # Only now is it certain that the data matches the keys.
            made = {key: new_entry_path(working, number) for number, key in enumerate(keys)}
            made = {key: path for key, path in made.items() if fileio.exists(path)}
            parse_cache.keep(settings.cache_directory, keys, made)
        fileio.rmtree(working)
        return counts


def _refuse_bad_rows(
    report: IngestionReport, settings: IngestionSettings, quarantine: str, kept: str
) -> None:
    if report.error:
        raise DataError(report.error)
    if not report.rows:
        paths = ", ".join(settings.paths)
        raise DataError(f"{paths}: no rows of data; add rows below the header, or set data.path")
    refusal = report.refusal(settings.max_bad_share, kept)
    if refusal:
        fileio.makedirs(os.path.dirname(kept))
        fileio.copy(quarantine, kept + ".part", overwrite=True)
        fileio.rename(kept + ".part", kept, overwrite=True)
        raise DataError(refusal)


def _kept_quarantine(settings: IngestionSettings, uri: str, promised: str) -> str:
    """Return where a failed run leaves its quarantine file: TFX deletes a failed run's outputs.

    The name derives from the data's fingerprint, so the same bad data always writes the same file.
    """
    directory = settings.quarantine_directory
    if not directory:
        # TFX: <pipeline root>/<component>/<output>/<execution>
        root = os.path.dirname(os.path.dirname(os.path.dirname(uri.rstrip("/"))))
        directory = os.path.join(root, QUARANTINE_FOLDER)
    return os.path.join(directory, f"ExampleGen-{promised[:12]}.jsonl")


def _sources(
    settings: IngestionSettings, exec_properties: dict[str, Any]
) -> tuple[Sequence[Source], list[str]]:
    """Return the sources and their digests.

    On platforms without custom drivers, this also sets the properties that the driver would set.

    Raises:
        DataError: the sources do not exist, or changed since the driver ran.
    """
    promised = exec_properties.get(utils.FINGERPRINT_PROPERTY_NAME)
    spans = json.loads(exec_properties.get(FEEDBACK_SPANS) or "[]") if promised else None
    data = find_input(settings, spans)
    digests = content_digests(data.sources)
    if not promised:
        exec_properties[utils.FINGERPRINT_PROPERTY_NAME] = combined_fingerprint(digests)
        exec_properties[utils.SPAN_PROPERTY_NAME] = data.span
        exec_properties[utils.VERSION_PROPERTY_NAME] = data.version
        exec_properties[FEEDBACK_SPANS] = json.dumps(data.feedback_spans)
    elif promised != combined_fingerprint(digests):
        raise _changed()
    return data.sources, digests


def _changed() -> DataError:
    return DataError("the data changed while it was read; run again when nothing writes to it")


def _reports(working: str, prefix: str) -> list[dict[str, Any]]:
    found = []
    for name in sorted(fileio.listdir(working)):
        if name.startswith(prefix) and name.endswith(".json"):
            with fileio.open(os.path.join(working, name)) as stream:
                found.append(json.loads(stream.read()))
    return found


def _gather_quarantine(working: str, uri: str) -> str:
    """Concatenate the bad rows of all sources into one file, in the order of the sources."""
    folder = os.path.join(uri, QUARANTINE_FOLDER)
    fileio.makedirs(folder)
    path = os.path.join(folder, QUARANTINE_FILE)
    with fileio.open(path, "wb") as target:
        target.write(b"")  # TensorFlow's file system creates the file on the first write.
        for name in sorted(fileio.listdir(working)):
            if name.startswith("rows-") and name.endswith(".jsonl"):
                with fileio.open(os.path.join(working, name), "rb") as part:
                    while chunk := part.read(1 << 20):
                        target.write(chunk)
    return path


def _record(counts: Counts, exec_properties: dict[str, Any], examples: types.Artifact) -> None:
    """Set the artifact's properties: those that TFX expects, and the counts."""
    examples.split_names = artifact_utils.encode_split_names(list(features.SPLITS))
    tfx_driver.update_output_artifact(
        {utils.VERSION_PROPERTY_NAME: None, **exec_properties}, examples.mlmd_artifact
    )
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, "tfrecords_gzip")
    numbers = counts.numbers()
    for name, number in numbers.items():
        examples.set_int_custom_property(name, number)
    report = counts.report
    texts = {
        "quarantine_reasons": json.dumps(report.reasons),
        "label_counts": json.dumps(counts.labels, sort_keys=True),
        FEEDBACK_SPANS: exec_properties.get(FEEDBACK_SPANS) or "[]",
        "feedback_counts": json.dumps(counts.feedback, sort_keys=True),
    }
    for name, text in texts.items():
        examples.set_string_custom_property(name, text)
    logging.info("%d sources, %d from the cache", report.sources, report.from_cache)
    progress.emit(
        "ingested",
        component="ExampleGen",
        sources=report.sources,
        from_cache=report.from_cache,
        **numbers,
        reasons=report.reasons,
    )
