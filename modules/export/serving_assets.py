"""Files stored with the exported model, under ``assets.extra/``.

They are the labels, a model card, the trainer's own scores for a few texts, and two files that
TensorFlow Serving reads: warm-up requests and batching parameters.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from modules.contract import features

#: For ``--batching_parameters_file``. Requests do not wait for each other: a batch holds those that
#: arrived while the last one ran. Texts of any length can share a batch, because the graph computes
#: padding only in attention; 32 texts saturate the matrix products. Larger requests, up to
#: max_batch_size, are split. The number of threads defaults to the number of processors.
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
    """The trainer's own scores.

    Attributes:
        texts: the classified texts.
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
        directory: folder of the SavedModel.
        labels: names of the classes, in the order of their ids.
        model_card: JSON values about the model.
        answers: scores to check the export against; their texts are also warm-up requests.
        signatures: names of the signatures to warm up.
        max_length: tokens of the longest text that the model reads.

    Raises:
        ValueError: ``answers`` has a different number of texts and scores.
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
    """Return a short text, a text of maximum length, and a batch of typical texts."""
    longest = " ".join(["a"] * max_length)
    likely = list(texts) or [_WARMUP_TEXT]
    return [[_WARMUP_TEXT], [longest], (likely * _WARMUP_BATCH)[:_WARMUP_BATCH]]


def _warmup_record(signature: str, texts: Sequence[str]) -> bytes:
    """Return a serialised PredictionLog, which TensorFlow Serving replays while it loads."""
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
    """Yield serialised tf.Examples with the feature ``text``."""
    for text in texts:
        example = tf.train.Example()
        example.features.feature[features.TEXT].bytes_list.value.append(text.encode())
        yield example.SerializeToString()
