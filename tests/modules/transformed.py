"""Transform's output for the Trainer: transformed examples of two splits and their graph."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

from modules import preprocessing
from modules.contract import features
from modules.contract.hparams import HParams, TextSettings, TrainingSettings, TunerSettings
from tests.modules.tiny_runs import LABELS, texts

#: Shorter than some texts, so that these are truncated.
MAX_LENGTH = 16


def write(folder: Path, encoder: str, text_spec: Any) -> None:
    """Run tf.Transform on made-up texts.

    Args:
        folder: output folder of ``train``, ``eval`` (gzip TFRecords) and ``graph``.
        encoder: folder of the tiny BERT.
        text_spec: feature spec of the raw text.
    """
    fixed = isinstance(text_spec, tf.io.FixedLenFeature) and not text_spec.shape
    spec = {features.TEXT: text_spec, features.LABEL: text_spec}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    config = {"text": TextSettings(encoder, MAX_LENGTH).to_json(), "code_digest": ""}

    def rows(count: int, seed: int) -> list[dict[str, Any]]:
        pairs = zip(*texts(count, seed), strict=True)
        raw = [
            {features.TEXT: text.encode(), features.LABEL: LABELS[i].encode()} for text, i in pairs
        ]
        return raw if fixed else [{name: [value] for name, value in row.items()} for row in raw]

    def transform(inputs: dict[str, Any]) -> dict[str, Any]:
        return preprocessing.preprocessing_fn(inputs, config)

    with beam.Pipeline(runner=FnApiRunner()) as p, tft_beam.Context(str(folder / "temporary")):
        train = p | "Train" >> beam.Create(rows(60, seed=0))
        evaluation = p | "Eval" >> beam.Create(rows(24, seed=1))
        (train, out), graph = (train, metadata) | tft_beam.AnalyzeAndTransformDataset(transform)
        evaluation, _ = ((evaluation, metadata), graph) | tft_beam.TransformDataset()
        encode = tft.coders.ExampleProtoCoder(out.schema).encode
        for name, examples in (("train", train), ("eval", evaluation)):
            path = str(folder / name / "examples")
            encoded = examples | f"Encode {name}" >> beam.Map(encode)
            _ = encoded | f"Write {name}" >> beam.io.WriteToTFRecord(path, file_name_suffix=".gz")
        _ = graph | tft_beam.WriteTransformFn(str(folder / "graph"))
    # TFX stores the raw schema next to the graph; tf.Transform without TFX does not.
    metadata_io.write_metadata(metadata, str(folder / "graph" / "metadata"))


def fn_args(
    folder: Path,
    output: Path,
    encoder: str,
    tuner: TunerSettings | None = None,
    **hparams: Any,
) -> SimpleNamespace:
    """Return the fields of ``tfx.components.FnArgs`` that the Trainer and the Tuner read."""
    values = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 2, **hparams}
    settings = TrainingSettings(
        precision="float32",
        expected_answers=5,
        checkpoint_directory=str(output / "checkpoints"),
        code_digest="0123",
    )
    config = {
        "text": TextSettings(encoder, MAX_LENGTH).to_json(),
        "hparams": HParams(**values).to_json(),
        "training": settings.to_json(),
    }
    return SimpleNamespace(
        train_files=[str(folder / "train" / "*")],
        eval_files=[str(folder / "eval" / "*")],
        transform_graph_path=str(folder / "graph"),
        serving_model_dir=str(output / "model"),
        model_run_dir=str(output / "run"),
        working_dir=str(output / "working"),
        hyperparameters=None,
        custom_config=config | ({"tuner": tuner.to_json()} if tuner else {}),
    )
