"""The run that made a deployed version, and the texts that it was not trained on."""

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path

from modules.contract import features
from modules.contract.errors import UserError
from modules.contract.pushed_model import MANIFEST_FILE, read_manifest, version_folder
from pipeline.config import Config
from runners.lineage.records import Run
from runners.lineage.runs import read_runs

#: Splits that the model was not trained on: eval selects the epoch, test evaluates the model.
SPLITS = (features.EVAL_SPLIT, features.TEST_SPLIT)
#: Nodes whose outputs are needed.
_NODES = ("ExampleGen", "Trainer", "Evaluator")


def read_source(config: Config, version: int) -> str:
    """Return the URI of the ``Model`` artifact that was pushed as a version.

    Raises:
        UserError: the version does not exist, or its manifest cannot be read.
    """
    folder = version_folder(config.push_directory(), version)
    try:
        return read_manifest(folder).source
    except (OSError, ValueError) as error:
        raise UserError(
            f"the manifest of version {version} cannot be read from {folder / MANIFEST_FILE}; "
            "set pusher.base_directory to the folder that the model server reads"
        ) from error


def find_run(config: Config, source: str) -> Run:
    """Find the newest run whose Trainer's model has the URI ``source``.

    Raises:
        UserError: no recorded run has it.
    """
    for run in read_runs(config, with_outputs=_NODES):
        model = run.artifact("Trainer", "Model")
        if model is not None and model.uri == source:
            return run
    raise UserError(
        f"no run of pipeline {config.pipeline.name!r} made the model {source}; "
        "pipeline.name, pipeline.root and metadata.url must be those of the run that pushed it"
    )


def read_held_out(run: Run) -> list[tuple[str, str]]:
    """Read text and true label of each example of a run's eval and test splits.

    Raises:
        UserError: the run has no examples, or they cannot be read here.
    """
    artifact = run.artifact("ExampleGen", "Examples")
    if artifact is None:
        raise UserError(f"run {run.run_id} has no examples; start a new run: bert run")
    examples = [
        example for split in SPLITS for example in read_examples(f"{artifact.uri}/Split-{split}")
    ]
    if not examples:
        raise UserError(
            f"{artifact.uri} holds no eval or test split that this machine can read; "
            "set pipeline.root to the folder that holds the run's data"
        )
    return examples


def read_examples(folder: str) -> Iterator[tuple[str, str]]:
    """Yield text and label of each example in a split's gzip TFRecords, in file order.

    Local files are read without TensorFlow, whose import takes seconds.

    Raises:
        UserError: a file is damaged, or holds a record without text or label.
    """
    from serving.protocol.protos import example_pb2

    for name, record in _records(folder):
        try:
            feature = example_pb2.Example.FromString(record).features.feature
            text, label = (
                feature[key].bytes_list.value[0].decode("utf-8", "replace")
                for key in (features.TEXT, features.LABEL)
            )
        except (ValueError, IndexError) as error:
            raise UserError(f"{name} holds a record without text or label") from error
        yield text, label


def _records(folder: str) -> Iterator[tuple[str, bytes]]:
    """Yield each record with the name of its file.

    Raises:
        UserError: a file is damaged.
    """
    if "://" in folder:
        import tensorflow as tf

        names = sorted(tf.io.gfile.glob(f"{folder}/*"))
        for record in tf.data.TFRecordDataset(names, "GZIP").as_numpy_iterator():
            yield folder, record
        return
    for path in sorted(Path(folder).glob("*.gz")):
        try:
            with gzip.open(path) as file:
                # Length and its checksum, then the record and its checksum; gzip has its own.
                while header := file.read(12):
                    (length,) = struct.unpack("<Q", header[:8])
                    yield str(path), file.read(length)
                    file.read(4)
        except (OSError, EOFError, struct.error) as error:
            raise UserError(f"{path} cannot be read: {error}; run the pipeline again") from error
