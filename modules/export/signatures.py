"""Export of the model: a SavedModel that tokenises, for TensorFlow Serving and TFMA.

Signatures, with any batch size and text length:

* ``serving_default``: ``text: string[batch]``
* ``serving_examples``: ``examples: string[batch]`` of serialised tf.Examples with a ``text``
* ``serving_default_bfloat16``, ``serving_examples_bfloat16``: the same with matrix products in
  bfloat16, about twice as fast on processors with AVX512_BF16 or AMX and slower on others

These return ``scores: float32[batch, classes]``, ``label: string[batch]`` and
``score: float32[batch]``.

* ``serving_monitoring``: ``text: string[batch]`` to the inputs of drift detection: ``embedding:
  float32[batch, width]`` (the vector that the head classifies), ``tokens: int32[batch]`` (tokens
  that the model reads, without start and end) and ``unknown_tokens: int32[batch]`` among them. No
  warm-up request calls it, so it hardly delays the loading of a version.

The encoder runs as ``modules.export.serving_graph``. Encoders that it does not support run as the
Keras model, in float32 only, with texts padded to the longest of their batch.
``modules.export.serving_assets`` writes ``assets.extra/``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from modules import preprocessing
from modules.contract import features
from modules.contract.hparams import TextSettings
from modules.export import serving_assets, serving_graph
from modules.fit.batches import BatchPlan, TokenizedTexts
from modules.network.model import TEXT_VECTOR

if TYPE_CHECKING:
    import tensorflow_transform as tft

    from modules.encoders.names import Encoder

#: Ragged int32[batch, (length)] token ids to logits float32[batch, classes].
_Forward = Callable[[tf.RaggedTensor], tf.Tensor]
#: Texts per eager call of the Keras model, where a batch costs little more than a single text.
_ANSWER_BATCH = 16
#: Special tokens around every text.
_START_AND_END = 2


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
        model: float32 classifier from ``modules.network.model.build_classifier``.
        encoder: the model's encoder. Tokenises if there is no transform graph.
        text_settings: settings that turn text into tokens.
        tft_output: Transform's output, whose graph becomes part of the export. None tokenises with
            ``modules.preprocessing``.
        labels: names of the classes, in the order of their ids.
        directory: folder to write to, created if missing.
        model_card: JSON values about the model.
        answer_texts: texts whose scores are stored with the model.
        answer_tokens: their token ids in training; None tokenises the texts.
    """
    server = _ServedClassifier(model, encoder, text_settings, tft_output, labels)
    functions = server.signatures()
    monitoring = {features.SERVING_MONITORING: server.monitoring_signature()}
    tf.saved_model.save(server, directory, signatures=functions | monitoring)
    if answer_tokens is None:
        answer_tokens = _tokenize(answer_texts, text_settings, encoder)
    scores = _scores(model, answer_tokens, encoder.pad_token_id)
    serving_assets.write(
        directory,
        labels,
        model_card,
        serving_assets.ReferenceScores(answer_texts, scores),
        signatures=sorted(functions),
        max_length=text_settings.max_length,
    )


class _ServedClassifier(tf.Module):
    """The exported functions with the variables and tables that they use.

    Tracks the model's variables but not the Keras model itself, so that the object graph stays
    small and the export loads without Keras.
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
        self._labels = tf.constant(list(labels))
        self._unknown_token_id = encoder.unknown_token_id
        self._forwards, self._text_vectors = _forwards(model, encoder.pad_token_id)
        self._model_variables = [variable.value for variable in model.weights]
        if tft_output is None:
            self._tokens = lambda text: preprocessing.tokenize(text, text_settings, encoder)
            self._resources = encoder.tokenizer()
        else:
            layer = tft_output.transform_features_layer()
            # Not the layer itself: it is a Keras 2 model, of which an export traces much more.
            self._resources = [*tf.train.TrackableView(layer).children(layer).values()]
            spec = _raw_text_spec(tft_output)
            self._tokens = lambda text: _as_ragged(
                layer({features.TEXT: _as_raw_feature(text, spec)})[features.TOKEN_IDS]
            )
        # Shared by all signatures; otherwise each would hold a copy of the vocabulary.
        self._token_ids = tf.function(
            lambda text: tf.cast(self._tokens(text), tf.int32),
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )

    def answer(self, text: tf.Tensor, forward: _Forward) -> dict[str, tf.Tensor]:
        """Classify ``text`` string[batch] and return the outputs of a signature."""
        scores = tf.nn.softmax(forward(self._token_ids(text)))
        return {
            features.SCORES: scores,
            features.PREDICTED_LABEL: tf.gather(self._labels, tf.argmax(scores, axis=-1)),
            features.SCORE: tf.reduce_max(scores, axis=-1),
        }

    def signatures(self) -> dict[str, Any]:
        """Return the functions that classify, by signature name."""
        return {
            name + suffix: function
            for suffix, forward in self._forwards.items()
            for name, function in self._signatures_of(forward).items()
        }

    def monitoring_signature(self) -> Any:
        """Return the function that describes texts for drift detection."""

        @_function_of(features.TEXT)
        def describe(text: tf.Tensor) -> dict[str, tf.Tensor]:
            token_ids = self._token_ids(text)
            lengths = tf.cast(token_ids.row_lengths(), tf.int32)
            return {
                features.EMBEDDING: self._text_vectors(token_ids),
                features.TOKENS: tf.maximum(lengths - _START_AND_END, 0),
                features.UNKNOWN_TOKENS: self._count_unknown(token_ids),
            }

        return describe

    def _count_unknown(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """Count unknown tokens: ragged int32[batch, (length)] to int32[batch]."""
        if self._unknown_token_id is None:
            return tf.zeros([token_ids.nrows()], tf.int32)
        unknown = tf.cast(tf.equal(token_ids.values, self._unknown_token_id), tf.int32)
        return tf.math.unsorted_segment_sum(unknown, token_ids.value_rowids(), token_ids.nrows())

    def _signatures_of(self, forward: _Forward) -> dict[str, Any]:
        spec = {features.TEXT: tf.io.FixedLenFeature([], tf.string)}

        @_function_of(features.TEXT)
        def serve_text(text: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.answer(text, forward)

        @_function_of(features.EXAMPLES_INPUT)
        def serve_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.answer(tf.io.parse_example(examples, spec)[features.TEXT], forward)

        return {features.SERVING_DEFAULT: serve_text, features.SERVING_EXAMPLES: serve_examples}


def _function_of(name: str) -> Callable[[Callable[[tf.Tensor], Any]], Any]:
    """Return a decorator for functions of one tensor string[batch] with the given name.

    AutoGraph is off, here and in ``serving_graph``: no branch depends on a tensor, and converting
    all called code, including Keras, would take most of the time of an export.
    """
    spec = tf.TensorSpec([None], tf.string, name)
    return tf.function(input_signature=[spec], autograph=False)


def _forwards(model: keras.Model, pad_token_id: int) -> tuple[dict[str, _Forward], _Forward]:
    """Return inference functions by signature suffix, one per precision, and one for vectors.

    The last returns the vectors of texts, float32[batch, width], instead of their logits.
    """
    if serving_graph.supports(model):
        graph = serving_graph.ServingGraph(model)
        forwards: dict[str, _Forward] = {
            "": graph,
            features.BFLOAT16_SUFFIX: serving_graph.ServingGraph(model, tf.bfloat16),
        }
        return forwards, graph.text_vectors
    body = keras.Model(model.input, model.get_layer(TEXT_VECTOR).output)
    return {"": _keras_forward(model, pad_token_id)}, _keras_forward(body, pad_token_id)


def _keras_forward(model: keras.Model, pad_token_id: int) -> _Forward:
    """Wrap a Keras model of token ids and mask as a function of ragged tokens."""

    def forward(tokens: tf.RaggedTensor) -> tf.Tensor:
        token_ids = tokens.to_tensor(pad_token_id)
        mask = tf.sequence_mask(tokens.row_lengths(), tf.shape(token_ids)[1], dtype=tf.int32)
        outputs = model({"token_ids": token_ids, "padding_mask": mask}, training=False)
        return tf.cast(outputs, tf.float32)

    return forward


def _raw_text_spec(tft_output: "tft.TFTransformOutput") -> Any:
    """Return the feature spec of the raw text, which depends on the schema: [1], [] or sparse."""
    try:
        return tft_output.raw_feature_spec()[features.TEXT]
    except OSError:  # tf.Transform without TFX stores no raw schema
        return tf.io.FixedLenFeature([], tf.string)


def _as_raw_feature(text: tf.Tensor, spec: Any) -> Any:
    """Convert ``text`` string[batch] to the form that the transform graph requires."""
    if isinstance(spec, tf.io.FixedLenFeature):
        return tf.reshape(text, [-1, *spec.shape])
    rows = tf.range(tf.size(text, out_type=tf.int64))
    indices = tf.stack([rows, tf.zeros_like(rows)], axis=1)
    return tf.SparseTensor(indices, text, [tf.size(text, out_type=tf.int64), 1])


def _as_ragged(tokens: Any) -> tf.RaggedTensor:
    if isinstance(tokens, tf.SparseTensor):
        return tf.RaggedTensor.from_sparse(tokens)
    return tokens


def _tokenize(texts: Sequence[str], settings: TextSettings, encoder: "Encoder") -> list[list[int]]:
    if not texts:
        return []
    tokens = preprocessing.tokenize(tf.constant(list(texts)), settings, encoder)
    return tokens.to_list()


def _scores(
    model: keras.Model, token_ids: Sequence[Sequence[int]], pad_token_id: int
) -> np.ndarray:
    """Compute class probabilities with the Keras model: float32[texts, classes]."""
    data = TokenizedTexts.from_lists(token_ids, [0] * len(token_ids))
    plan = BatchPlan(data, _ANSWER_BATCH, pad_token_id, length_step=1)
    by_row: dict[int, np.ndarray] = {}
    for rows in plan.rows(epoch=0):
        scores = keras.ops.softmax(model(plan.batch(rows)[0], training=False))
        by_row.update(zip(rows.tolist(), keras.ops.convert_to_numpy(scores), strict=True))
    return np.array([by_row[row] for row in range(len(data))], np.float32)
