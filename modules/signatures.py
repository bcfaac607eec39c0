"""The exported model: a SavedModel with tokenisation inside, for TensorFlow Serving and TFMA.

Two signatures, batch and length both free:

* ``serving_default``: ``text: string[batch]``
* ``serving_examples``: ``examples: string[batch]`` of serialised tf.Examples with a ``text``

Both give ``scores: float32[batch, classes]``, ``label: string[batch]``, ``score: float32[batch]``.
Texts are padded to the longest of their batch. ``assets.extra/`` holds the labels, a model card,
the trainer's own answers to a few texts, and warm-up requests for TensorFlow Serving.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from modules import features, preprocessing
from modules.batches import BatchPlan, TokenizedTexts
from modules.hparams import TextSettings

if TYPE_CHECKING:
    import tensorflow_transform as tft

    from modules.encoders import Encoder

WARMUP_FILE = "tf_serving_warmup_requests"
_WARMUP_BATCHES = (1, 8)


def export(
    model: keras.Model,
    encoder: "Encoder",
    text_settings: TextSettings,
    tft_output: "tft.TFTransformOutput | None",
    labels: Sequence[str],
    directory: str,
    model_card: Mapping[str, Any],
    answer_texts: Sequence[str],
    answer_tokens: Sequence[Sequence[int]] | None = None,
) -> None:
    """Write the model to ``directory``.

    Args:
        model: float32 classifier from ``modules.model.build_classifier``.
        encoder: tokenises where there is no transform graph, and names the padding token.
        text_settings: how text becomes tokens.
        tft_output: Transform's output; its very graph is put in the export. None tokenises with
            ``modules.preprocessing``.
        labels: names of the classes, in the order of their ids.
        directory: made when absent.
        model_card: JSON values about the model.
        answer_texts: texts whose answers are stored with the model.
        answer_tokens: their token ids as the trainer saw them; None tokenises the texts.
    """
    server = _ServedClassifier(model, encoder, text_settings, tft_output, labels)
    tf.saved_model.save(server, directory, signatures=server.signatures())
    if answer_tokens is None:
        answer_tokens = _tokenize(answer_texts, text_settings, encoder)
    scores = _scores(model, answer_tokens, encoder.pad_token_id)
    _write_extra_assets(directory, labels, model_card, answer_texts, scores)


class _ServedClassifier(tf.Module):
    """Functions of the export and the variables and tables they need.

    It tracks the model's plain variables, not the Keras model: the object graph stays small and
    the export loads without Keras.
    """

    def __init__(
        self,
        model: keras.Model,
        encoder: "Encoder",
        text_settings: TextSettings,
        tft_output: "tft.TFTransformOutput | None",
        labels: Sequence[str],
    ) -> None:
        super().__init__()
        self._model_variables = [variable.value for variable in model.weights]
        self._labels = tf.constant(list(labels))
        self._pad_token_id = encoder.pad_token_id
        if tft_output is None:
            tokenizer = encoder.tokenizer()
            self._tokens = _tokenizer_graph(text_settings, encoder)
            self._resources = tokenizer
        else:
            layer = tft_output.transform_features_layer()
            self._transform = layer
            spec = _raw_text_spec(tft_output)
            self._tokens = lambda text: _as_ragged(
                layer({features.TEXT: _as_raw_feature(text, spec)})[features.TOKEN_IDS]
            )
        self._forward = lambda inputs: model(inputs, training=False)

    def answer(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers to ``text`` string[batch]."""
        tokens = tf.cast(self._tokens(text), tf.int32)
        token_ids = tokens.to_tensor(self._pad_token_id)
        mask = tf.sequence_mask(tokens.row_lengths(), tf.shape(token_ids)[1], dtype=tf.int32)
        logits = self._forward({"token_ids": token_ids, "padding_mask": mask})
        scores = tf.nn.softmax(tf.cast(logits, tf.float32))
        return {
            features.SCORES: scores,
            features.PREDICTED_LABEL: tf.gather(self._labels, tf.argmax(scores, axis=-1)),
            features.SCORE: tf.reduce_max(scores, axis=-1),
        }

    def signatures(self) -> dict[str, Any]:
        """Concrete functions by signature name."""
        spec = {features.TEXT: tf.io.FixedLenFeature([], tf.string)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, features.TEXT)])
        def serve_text(text: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.answer(text)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, features.EXAMPLES_INPUT)])
        def serve_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.answer(tf.io.parse_example(examples, spec)[features.TEXT])

        return {features.SERVING_DEFAULT: serve_text, features.SERVING_EXAMPLES: serve_examples}


def _raw_text_spec(tft_output: "tft.TFTransformOutput") -> Any:
    """How the raw text reached Transform: SchemaGen infers [1] or [], a schema may say neither."""
    try:
        return tft_output.raw_feature_spec()[features.TEXT]
    except OSError:  # tf.Transform alone, without TFX, keeps no raw schema
        return tf.io.FixedLenFeature([], tf.string)


def _as_raw_feature(text: tf.Tensor, spec: Any) -> Any:
    """``text`` string[batch] in the shape that the transform graph insists on."""
    if isinstance(spec, tf.io.FixedLenFeature):
        return tf.reshape(text, [-1, *spec.shape])
    rows = tf.range(tf.size(text, out_type=tf.int64))
    indices = tf.stack([rows, tf.zeros_like(rows)], axis=1)
    return tf.SparseTensor(indices, text, [tf.size(text, out_type=tf.int64), 1])


def _as_ragged(tokens: Any) -> tf.RaggedTensor:
    if isinstance(tokens, tf.SparseTensor):
        return tf.RaggedTensor.from_sparse(tokens)
    return tokens


def _tokenizer_graph(settings: TextSettings, encoder: "Encoder") -> Any:
    return lambda text: preprocessing.tokenize(text, settings, encoder)


def _tokenize(texts: Sequence[str], settings: TextSettings, encoder: "Encoder") -> list[list[int]]:
    if not texts:
        return []
    tokens = preprocessing.tokenize(tf.constant(list(texts)), settings, encoder)
    return tokens.to_list()


def _scores(
    model: keras.Model, token_ids: Sequence[Sequence[int]], pad_token_id: int
) -> np.ndarray:
    """Class probabilities by the Keras model itself, text by text: float32[texts, classes]."""
    data = TokenizedTexts.from_lists(token_ids, [0] * len(token_ids))
    plan = BatchPlan(data, 1, pad_token_id, length_step=1)
    rows = [
        keras.ops.convert_to_numpy(
            keras.ops.softmax(model(plan.batch(np.array([row]))[0], training=False))
        )[0]
        for row in range(len(data))
    ]
    return np.array(rows, np.float32)


def _write_extra_assets(
    directory: str,
    labels: Sequence[str],
    model_card: Mapping[str, Any],
    texts: Sequence[str],
    scores: np.ndarray,
) -> None:
    extra = os.path.join(directory, features.EXTRA_ASSETS)
    tf.io.gfile.makedirs(extra)
    answers = [
        {"text": text, "label": labels[int(np.argmax(row))], "scores": [float(x) for x in row]}
        for text, row in zip(texts, scores, strict=True)
    ]
    _write(extra, features.LABELS_FILE, "".join(f"{label}\n" for label in labels))
    card = json.dumps(dict(model_card), indent=2, sort_keys=True)
    _write(extra, features.MODEL_CARD_FILE, card + "\n")
    _write(extra, features.EXPECTED_ANSWERS_FILE, "".join(json.dumps(a) + "\n" for a in answers))
    _write_warmup(os.path.join(extra, WARMUP_FILE), list(texts))


def _write(directory: str, name: str, text: str) -> None:
    with tf.io.gfile.GFile(os.path.join(directory, name), "w") as file:
        file.write(text)


def _write_warmup(path: str, texts: Sequence[str]) -> None:
    """Requests that TensorFlow Serving answers before it calls the version ready."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    texts = list(texts) or ["warm-up"]
    with tf.io.TFRecordWriter(path) as writer:
        for size in _WARMUP_BATCHES:
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = features.SERVING_DEFAULT
            batch = (list(texts) * size)[:size]
            request.inputs[features.TEXT].CopyFrom(tf.make_tensor_proto(batch, tf.string))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())
