"""The classifier for serving: plain TensorFlow ops on packed tokens, for speed.

The Keras model computes on ``[batch, length]`` with padding. Here the tokens of all texts are
concatenated in one matrix ``[tokens, hidden]``, so that embeddings, dense layers and layer norms
compute no padding. Only attention needs rectangles of texts: one gather of head-wide slices lays
the projections out as ``[texts, heads, length, width]``, and one scatter restores the packed
layout. Texts are sorted by length and cut into the two rectangles with the fewest cells.

The ops are those that Grappler's remapper and oneDNN fuse in stock TensorFlow (2.16 to 2.21)
without XLA: MatMul + BiasAdd (+ Gelu, or + residual in float32), BatchMatMul + Mul + Add, Softmax,
and a layer norm written as a batch norm of rows. All ops also run without oneDNN.

The bfloat16 variant stores dense weights and multiplies matrices in bfloat16. Residuals, layer
norms and the head are float32; the softmax has bfloat16 inputs and outputs and sums in float32.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from modules.network import transformer
from modules.network.model import HEAD


@dataclasses.dataclass(frozen=True)
class _Rectangle:
    """Texts whose attention is computed together, padded to the longest of them.

    Attributes:
        slices: int32[3, texts, heads, length], rows of the projections reshaped to
            ``[tokens * 3 * heads, width]``: query, key, value. Padding points to row 0.
        targets: int32[texts, heads, length], rows of the context reshaped to
            ``[tokens * heads, width]``. Padding points one past the last row.
        bias: float[texts, 1, 1, length] added to the attention logits.
    """

    slices: tf.Tensor
    targets: tf.Tensor
    bias: tf.Tensor


class ServingGraph(tf.Module):
    """Inference of a classifier on packed tokens, in one precision.

    In float32 it shares the Keras model's variables; in bfloat16 it adds copies of the kernels and
    biases of dense layers. It tracks no Keras objects, so that the export loads without Keras.
    """

    def __init__(self, model: keras.Model, precision: tf.DType = tf.float32) -> None:
        """Create the graph with the weights of a model.

        Args:
            model: from ``modules.network.model.build_classifier``; ``supports`` must be true of it.
            precision: of the matrix products, ``tf.float32`` or ``tf.bfloat16``.
        """
        super().__init__()
        encoder, head = model.get_layer("encoder"), model.get_layer(HEAD)
        embeddings = encoder.get_layer("embeddings")
        self._shape: transformer.Shape = embeddings.shape
        self._precision = precision
        self._tokens = _variable(embeddings.tokens)
        self._positions = _variable(embeddings.positions)
        self._embeddings_norm = _variables(embeddings.norm)
        layers = [encoder.get_layer(f"layer_{index}") for index in range(self._shape.layers)]
        self._layers = [self._layer_weights(layer) for layer in layers]
        self._head = _variables((head.kernel, head.bias))

        self._functions: dict[str, Any] = {}

    def __call__(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """Classify texts.

        Args:
            token_ids: ragged int32[batch, (length)]; batch and lengths may be 0.

        Returns:
            Logits float32[batch, classes].
        """
        lengths = tf.cast(token_ids.row_lengths(), tf.int32)
        logits = self._apart(self._packed_logits)(token_ids.values, lengths)
        return tf.ensure_shape(logits, [None, self._head[1].shape[0]])

    def text_vectors(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """Return the vectors of texts that the head classifies.

        Args:
            token_ids: ragged int32[batch, (length)]; batch and lengths may be 0.

        Returns:
            Means of the token vectors, float32[batch, hidden].
        """
        lengths = tf.cast(token_ids.row_lengths(), tf.int32)
        vectors = self._apart(self._packed_vectors)(token_ids.values, lengths)
        return tf.ensure_shape(vectors, [None, self._shape.hidden])

    def _apart(self, function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Any:
        """Return the method, of ids and lengths int32[any], as a function that is never inlined.

        Otherwise a session inlines it before optimisation and adds control dependencies from the
        arguments to each constant, which prevents fusion. Functions are created on first use,
        because every function that exists is exported and then optimised by the server. For
        AutoGraph, see ``modules.export.signatures``.
        """
        if function.__name__ not in self._functions:
            self._functions[function.__name__] = tf.function(
                function,
                input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int32)],
                experimental_attributes={"_noinline": True},
                autograph=False,
            )
        return self._functions[function.__name__]

    def _packed_logits(self, ids: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return logits of texts with tokens ``ids`` int32[tokens], ``lengths`` int32[batch]."""
        mean = self._packed_vectors(ids, lengths)
        return tf.nn.bias_add(tf.matmul(mean, _read(self._head[0])), _read(self._head[1]))

    def _packed_vectors(self, ids: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return the mean token vector of each text, float32[batch, hidden]."""
        rows = tf.repeat(tf.range(tf.size(lengths)), lengths)
        starts = tf.cumsum(lengths, exclusive=True)
        positions = tf.range(tf.size(rows)) - tf.gather(starts, rows)
        # An empty batch gets one token that belongs to no text, so that no kernel gets size 0.
        missing = tf.cast(tf.equal(tf.shape(rows), 0), tf.int32)
        ids = tf.concat([ids, tf.zeros(missing, tf.int32)], 0)
        rows = tf.concat([rows, tf.fill(missing, -1)], 0)
        positions = tf.concat([positions, tf.zeros(missing, tf.int32)], 0)

        rectangles = self._rectangles(starts, lengths, tf.size(ids))
        vectors = tf.gather(self._tokens, ids) + tf.gather(self._positions, positions)
        vectors = tf.ensure_shape(vectors, [None, self._shape.hidden])
        vectors = self._norm(vectors, self._embeddings_norm)
        for weights in self._layers:
            vectors = self._layer(vectors, rectangles, weights)
        total = tf.math.unsorted_segment_sum(vectors, rows, tf.size(lengths))
        return total / tf.cast(tf.maximum(lengths, 1), tf.float32)[:, tf.newaxis]

    def _layer_weights(self, layer: transformer.TransformerLayer) -> dict[str, Any]:
        dense = ("query_key_value", "attention_output", "intermediate", "feedforward_output")
        norms = ("attention_norm", "feedforward_norm")
        weights = {name: self._dense_weights(getattr(layer, name)) for name in dense}
        return weights | {name: _variables(getattr(layer, name)) for name in norms}

    def _dense_weights(self, weights: Sequence[Any]) -> list[tf.Variable]:
        if self._precision == tf.float32:
            return _variables(weights)
        return [
            tf.Variable(tf.cast(weight, self._precision), trainable=False)
            for weight in _variables(weights)
        ]

    def _layer(
        self, vectors: tf.Tensor, rectangles: Sequence[_Rectangle], weights: dict[str, Any]
    ) -> tf.Tensor:
        """Apply one transformer layer to float32[tokens, hidden]."""
        attended = self._attend(self._dense(vectors, weights["query_key_value"]), rectangles)
        attended = self._dense(attended, weights["attention_output"])
        vectors = self._norm(vectors + _float32(attended), weights["attention_norm"])
        inner = self._dense(vectors, weights["intermediate"])
        inner = tf.nn.gelu(inner, approximate=not self._shape.exact_gelu)
        outer = self._dense(inner, weights["feedforward_output"])
        return self._norm(vectors + _float32(outer), weights["feedforward_norm"])

    def _dense(self, x: tf.Tensor, weights: Sequence[tf.Variable]) -> tf.Tensor:
        kernel, bias = _read(weights[0]), _read(weights[1])
        return tf.nn.bias_add(tf.matmul(tf.cast(x, self._precision), kernel), bias)

    def _norm(self, x: tf.Tensor, weights: Sequence[tf.Variable]) -> tf.Tensor:
        """Normalise rows, as a batch norm with one channel per row, which oneDNN fuses."""
        rows, width = tf.shape(x)[0], self._shape.hidden
        nothing = tf.constant([], tf.float32)
        normalised = tf.raw_ops.FusedBatchNormV3(
            x=tf.reshape(x, [1, rows, width, 1]),
            scale=tf.ones([rows]),
            offset=tf.zeros([rows]),
            mean=nothing,
            variance=nothing,
            epsilon=self._shape.epsilon,
            data_format="NCHW",
            is_training=True,
        ).y
        return tf.reshape(normalised, [rows, width]) * _read(weights[0]) + _read(weights[1])

    def _attend(self, projected: tf.Tensor, rectangles: Sequence[_Rectangle]) -> tf.Tensor:
        """Attend within each text: [tokens, 3 * hidden] to [tokens, hidden]."""
        width = self._shape.hidden // self._shape.heads
        rows = tf.reshape(projected, [-1, width])
        context = []
        for rectangle in rectangles:
            query, key, value = tf.unstack(tf.gather(rows, rectangle.slices), 3)
            logits = tf.matmul(query, key, transpose_b=True)
            logits = logits * tf.constant(width**-0.5, logits.dtype) + rectangle.bias
            context.append(tf.matmul(tf.nn.softmax(logits), value))
        targets = [rectangle.targets for rectangle in rectangles]
        merged = tf.raw_ops.ParallelDynamicStitch(indices=targets, data=context)
        tokens = tf.shape(projected)[0]
        # Rows past the tokens are the context of padding.
        return tf.reshape(merged[: tokens * self._shape.heads], [tokens, self._shape.hidden])

    def _rectangles(
        self, starts: tf.Tensor, lengths: tf.Tensor, tokens: tf.Tensor
    ) -> list[_Rectangle]:
        """Sort the texts by length and cut them into the two rectangles with the fewest cells."""
        # Two empty texts are appended, so that neither part can be without texts.
        lengths, starts = tf.pad(lengths, [[0, 2]]), tf.pad(starts, [[0, 2]])
        count = tf.size(lengths)
        lengths, order = tf.math.top_k(lengths, count)
        starts = tf.gather(starts, order)
        areas = tf.square(_float32(lengths))
        sizes = _float32(tf.range(1, count))
        cells = sizes * areas[0] + (_float32(count) - sizes) * areas[1:]
        cut = tf.argmin(cells, output_type=tf.int32) + 1
        end = tf.maximum(count - 2, cut + 1)
        return [
            self._rectangle(starts[first:last], lengths[first:last], tokens)
            for first, last in ((0, cut), (cut, end))
        ]

    def _rectangle(self, starts: tf.Tensor, lengths: tf.Tensor, tokens: tf.Tensor) -> _Rectangle:
        """Return the rectangle of texts that are sorted by length, longest first."""
        heads = self._shape.heads
        steps = tf.range(tf.maximum(lengths[0], 1))
        real = steps < lengths[:, tf.newaxis]
        cells = starts[:, tf.newaxis] + steps
        sources = tf.where(real, cells, 0)[tf.newaxis, :, tf.newaxis, :]
        part = tf.range(3)[:, tf.newaxis, tf.newaxis, tf.newaxis]
        head = tf.range(heads)[:, tf.newaxis]
        targets = cells[:, tf.newaxis, :] * heads + head
        bias = tf.where(real, 0.0, transformer.PADDING_LOGIT)[:, tf.newaxis, tf.newaxis, :]
        return _Rectangle(
            slices=(sources * 3 + part) * heads + head,
            targets=tf.where(real[:, tf.newaxis, :], targets, tokens * heads),
            bias=tf.cast(bias, self._precision),
        )


def supports(model: keras.Model) -> bool:
    """Return whether ``model``'s encoder was built by ``modules.network.transformer``."""
    return any(
        isinstance(layer, transformer.Embeddings)
        for layer in getattr(model.get_layer("encoder"), "layers", ())
    )


def _read(variable: tf.Variable) -> tf.Tensor:
    """Read a variable with a static shape, which function arguments hide from the optimisers."""
    return tf.ensure_shape(variable, variable.shape)


def _variable(weight: Any) -> tf.Variable:
    return weight.value


def _variables(weights: Sequence[Any]) -> list[tf.Variable]:
    return [_variable(weight) for weight in weights]


def _float32(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32)
