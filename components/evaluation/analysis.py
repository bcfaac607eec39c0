"""One TensorFlow Model Analysis run over the precomputed answers of both models."""

import json
import math
from collections.abc import Mapping, Sequence

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

# TFMA 0.52 no longer exports its protos at the top.
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2

from components.evaluation import slices, tfma_metrics
from components.evaluation.metrics import ScoredExamples
from components.evaluation.settings import CLASS_METRICS, SLICE_METRICS
from components.evaluation.slices import MetricsTable, SliceMetrics

CANDIDATE = "candidate"
BASELINE = "baseline"

_LABEL_ID = "label_id"
_COUNT = "example_count"
_BATCH_SIZE = 512


def make_eval_config(
    models: Sequence[str], columns: Sequence[str], num_classes: int
) -> config_pb2.EvalConfig:
    """Return the TFMA configuration.

    Args:
        models: ``CANDIDATE`` and, if there is one, ``BASELINE``.
        columns: columns to slice by.
        num_classes: number of classes of the aligned scores.
    """
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                name=name,
                label_key=_LABEL_ID,
                prediction_key=name,
                is_baseline=name == BASELINE,
            )
            for name in models
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=[column]) for column in columns),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    config_pb2.MetricConfig(class_name="ExampleCount"),
                    config_pb2.MetricConfig(
                        class_name=tfma_metrics.ClassificationMetrics.__name__,
                        module=tfma_metrics.__name__,
                        config=json.dumps({"num_classes": num_classes}),
                    ),
                ]
            )
        ],
    )


def analyse(
    pipeline: beam.Pipeline,
    answers: Mapping[str, ScoredExamples],
    columns: Mapping[str, Sequence[str]],
    output_path: str,
) -> None:
    """Add the analysis to a Beam pipeline; TFMA's result files go to ``output_path``.

    Args:
        pipeline: pipeline to extend; it runs when its context ends.
        answers: model name -> answers on the same examples.
        columns: slice column -> value of each example.
        output_path: folder or URI.
    """
    num_classes = next(iter(answers.values())).num_classes
    config = make_eval_config(list(answers), list(columns), num_classes)
    _ = (
        pipeline
        | "ScoredExamples" >> beam.Create(_extracts(answers, columns), reshuffle=False)
        | "Analyse"
        >> tfma.ExtractEvaluateAndWriteResults(eval_config=config, output_path=output_path)
    )


def read_metrics(output_path: str, models: Sequence[str], labels: Sequence[str]) -> MetricsTable:
    """Read the metrics that ``analyse`` wrote.

    Args:
        output_path: the folder passed to ``analyse``.
        models: names of the models passed to ``analyse``.
        labels: label of each class index.

    Returns:
        Model name -> slice name -> metrics.
    """
    raw: dict[tuple[str, str], dict[tuple[str, int | None], float]] = {}
    for record in tfma.load_metrics(output_path):
        keys = {key.column: _slice_value(key) for key in record.slice_key.single_slice_keys}
        name = slices.slice_name(keys)
        for item in record.metric_keys_and_values:
            if item.key.is_diff:
                continue
            class_id = item.key.sub_key.class_id.value if item.key.HasField("sub_key") else None
            # TFMA omits the name if there is only one model.
            where = raw.setdefault((item.key.model_name or models[0], name), {})
            where[item.key.name, class_id] = item.value.double_value.value
    table: MetricsTable = {model: {} for model in models}
    for (model, name), values in sorted(raw.items()):
        table[model][name] = _slice_metrics(values, labels)
    return table


def _extracts(
    answers: Mapping[str, ScoredExamples], columns: Mapping[str, Sequence[str]]
) -> list[dict[str, dict[str, np.ndarray]]]:
    """Return TFMA's batched extracts: only features, from which it reads labels and scores."""
    true = next(iter(answers.values())).true
    batches = []
    for start in range(0, len(true), _BATCH_SIZE):
        part = slice(start, start + _BATCH_SIZE)
        batch: dict[str, np.ndarray] = {_LABEL_ID: true[part][:, None]}
        batch |= {name: answer.scores[part] for name, answer in answers.items()}
        for column, values in columns.items():
            encoded = [value.encode() for value in values[part]]
            batch[column] = np.array(encoded, dtype=object)[:, None]
        batches.append({tfma.FEATURES_KEY: batch})
    return batches


def _slice_metrics(
    values: Mapping[tuple[str, int | None], float], labels: Sequence[str]
) -> SliceMetrics:
    return SliceMetrics(
        examples=round(values[_COUNT, None]),
        values={name: _defined(values[name, None]) for name in SLICE_METRICS},
        classes={
            label: {name: _defined(values[name, index]) for name in CLASS_METRICS}
            for index, label in enumerate(labels)
        },
    )


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _slice_value(key: metrics_for_slice_pb2.SingleSliceKey) -> str:
    kind = key.WhichOneof("kind")
    value = getattr(key, kind) if kind else ""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
