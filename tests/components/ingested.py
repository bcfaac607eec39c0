"""Helpers that run ExampleGen on TFX and read its output."""

import csv
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.types import artifact_utils

from components.example_gen import make_example_gen
from tests.components.beam_arguments import BEAM_ARGUMENTS

SPLIT = {"train": 6, "eval": 2, "test": 2}
WORDS = ("fine", "dull", "bright", "slow", "warm", "odd", "plain", "loud")


@dataclasses.dataclass
class Ran:
    """The newest output artifact of ExampleGen."""

    artifact: Any

    @property
    def uri(self) -> Path:
        return Path(self.artifact.uri)

    @property
    def executions(self) -> int:
        return len(list(self.uri.parent.iterdir()))

    def examples(self) -> dict[str, list[dict[str, str]]]:
        found: dict[str, list[dict[str, str]]] = {}
        for split in ("train", "eval", "test"):
            files = sorted(str(path) for path in self.uri.glob(f"Split-{split}/*"))
            found[split] = [
                {
                    name: feature.bytes_list.value[0].decode()
                    for name, feature in tf.train.Example.FromString(
                        record
                    ).features.feature.items()
                }
                for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
            ]
        return found

    def all_examples(self) -> list[dict[str, str]]:
        return [example for split in self.examples().values() for example in split]

    def quarantine(self) -> list[dict[str, Any]]:
        lines = (self.uri / "quarantine" / "rows.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def number(self, name: str) -> int:
        return int(self.artifact.get_int_custom_property(name))

    def string(self, name: str) -> str:
        return str(self.artifact.get_string_custom_property(name))

    def digests(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.uri)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.uri.rglob("data_tfrecord*"))
        }


def run(root: Path, *paths: Path | str, **arguments: Any) -> Ran:
    arguments = {"split": SPLIT, "code_digest": "0"} | arguments
    node = make_example_gen(paths=[str(path) for path in paths], **arguments)
    connection = metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    LocalDagRunner().run(
        pipeline.Pipeline(
            pipeline_name="ingestion",
            pipeline_root=str(root),
            components=[node],
            enable_cache=True,
            metadata_connection_config=connection,
            beam_pipeline_args=list(BEAM_ARGUMENTS),
        )
    )
    with metadata.Metadata(connection) as store:
        (kind,) = store.store.get_artifact_types()
        found = store.store.get_artifacts_by_type("Examples")
        live = [a for a in found if a.state == metadata_store_pb2.Artifact.LIVE]
        newest = max(live, key=lambda artifact: artifact.id)
        return Ran(artifact_utils.deserialize_artifact(kind, newest))


def last_execution_state(root: Path) -> int:
    connection = metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    with metadata.Metadata(connection) as store:
        return max(store.store.get_executions(), key=lambda e: e.id).last_known_state


def rows(count: int) -> list[tuple[str, str]]:
    return [
        (f"The {WORDS[number % 8]} thing, number {number}", ("bad", "good")[number % 2])
        for number in range(count)
    ]


def write_csv(path: Path, table: list[tuple[str, ...]], header: tuple[str, ...]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerows([header, *table])
    return path
