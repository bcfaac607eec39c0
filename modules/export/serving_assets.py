"""What rides along with the exported model, under ``assets.extra/``.

The labels, a model card, the trainer's own answers to a few texts, and two files that TensorFlow
Serving reads: warm-up requests, and parameters for its batching.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from modules.contract import features

#: For ``--batching_parameters_file``. No request waits for company: a batch is what arrived while
#: the last one ran. Texts of any length may share a batch, since the graph computes no padding
#: outside attention; 32 of them fill the matrix products. A request may hold more (max_batch_size)
#: and is then split. Threads: as many as processors.
BATCHING_PARAMETERS = """\
max_batch_size { value: 1024 }
max_execution_batch_size { value: 32 }
enable_large_batch_splitting { value: true }
batch_timeout_micros { value: 0 }
max_enqueued_batches { value: 64 }
"""
_WARMUP_TEXT = "warm-up"
_WARMUP_BATCH = 8


@dataclasses.dataclass(frozen=True)
class ReferenceScores:
    """The trainer's own answers.

    Attributes:
        texts: what was asked.
        scores: class probabilities float32[texts, classes].
    """

    texts: Sequence[str]
    scores: np.ndarray


def write(
    directory: str,
    labels: Sequence[str],
    model_card: Mapping[str, Any],
    answers: ReferenceScores,
    *,
    signatures: Sequence[str],
    max_length: int,
) -> None:
    """Write ``assets.extra/`` of the SavedModel in ``directory``.

    Args:
        directory: the SavedModel.
        labels: names of the classes, in the order of their ids.
        model_card: JSON values about the model.
        answers: stored for those who check the export; their texts warm it up.
        signatures: names of those to warm up.
        max_length: tokens of the longest text that the model reads.
    """
    extra = os.path.join(directory, features.EXTRA_ASSETS)
    tf.io.gfile.makedirs(extra)
    records = [
        {"text": text, "label": labels[int(np.argmax(row))], "scores": [float(x) for x in row]}
        for text, row in zip(answers.texts, answers.scores, strict=True)
    ]
    card = json.dumps(dict(model_card), indent=2, sort_keys=True)
    contents = {
        features.LABELS_FILE: "".join(f"{label}\n" for label in labels),
        features.MODEL_CARD_FILE: card + "\n",
        features.EXPECTED_ANSWERS_FILE: "".join(json.dumps(record) + "\n" for record in records),
        features.BATCHING_PARAMETERS_FILE: BATCHING_PARAMETERS,
    }
    for name, text in contents.items():
        with tf.io.gfile.GFile(os.path.join(extra, name), "w") as file:
            file.write(text)
    batches = _warmup_batches(answers.texts, max_length)
    with tf.io.TFRecordWriter(os.path.join(extra, features.WARMUP_FILE)) as writer:
        for name in signatures:
            for batch in batches:
                writer.write(_warmup_record(name, batch))


def _warmup_batches(texts: Sequence[str], max_length: int) -> list[list[str]]:
    """One short text, one of the most tokens, and a batch of texts like those to come."""
    longest = " ".join(["a"] * max_length)
    likely = list(texts) or [_WARMUP_TEXT]
    return [[_WARMUP_TEXT], [longest], (likely * _WARMUP_BATCH)[:_WARMUP_BATCH]]


def _warmup_record(signature: str, texts: Sequence[str]) -> bytes:
    """A PredictionLog, which TensorFlow Serving replays before it calls the version ready."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    if signature.startswith(features.SERVING_EXAMPLES):
        name, values = features.EXAMPLES_INPUT, list(_examples(texts))
    else:
        name, values = features.TEXT, [text.encode() for text in texts]
    request.inputs[name].CopyFrom(tf.make_tensor_proto(values, tf.string))
    log = prediction_log_pb2.PredictLog(request=request)
    return prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString()


def _examples(texts: Sequence[str]) -> Iterator[bytes]:
    """Serialised tf.Examples with the feature ``text``."""
    for text in texts:
        example = tf.train.Example()
        example.features.feature[features.TEXT].bytes_list.value.append(text.encode())
        yield example.SerializeToString()
