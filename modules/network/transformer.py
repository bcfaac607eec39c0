"""A fast transformer encoder that takes the weights of a keras-hub backbone.

It computes the same function as keras-hub's BERT, DistilBERT and RoBERTa backbones (tested to
1e-5), but uses one matrix multiplication for query, key and value, keeps the tokens of all texts in
one matrix ``[batch * length, hidden]`` so that dense layers are plain 2-D products, and adds a
padding bias of ``[batch, 1, 1, length]`` instead of a mask of ``[batch, heads, length, length]``.
"""

import dataclasses
from typing import Any

import keras
from keras import ops

from modules.network.dropout import ByteDropout

#: Added to the attention logits of padding; also finite in float16.
PADDING_LOGIT = -3e4


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a post-norm transformer encoder.

    Attributes:
        vocabulary: rows of the token embedding.
        positions: rows of the position embedding.
        hidden: width of a token vector.
        heads: attention heads.
        intermediate: width inside the feed-forward layers.
        layers: number of transformer layers.
        exact_gelu: whether GELU uses the error function instead of the tanh approximation.
        epsilon: epsilon of the layer norms.
        dropout: dropout rate.
    """

    vocabulary: int
    positions: int
    hidden: int
    heads: int
    intermediate: int
    layers: int
    exact_gelu: bool
    epsilon: float
    dropout: float


class _EncoderLayer(keras.layers.Layer):
    """Base of the layers, with explicit casts: autocasting would cast whole embedding tables."""

    def __init__(self, shape: Shape, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.shape = shape

    def _dense_weights(self, name: str, inputs: int, outputs: int) -> tuple[Any, Any]:
        kernel = self.add_weight(
            (inputs, outputs),
            keras.initializers.TruncatedNormal(stddev=0.02),
            name=f"{name}_kernel",
        )
        return kernel, self.add_weight((outputs,), "zeros", name=f"{name}_bias")

    def _norm_weights(self, name: str) -> tuple[Any, Any]:
        width = self.shape.hidden
        return (
            self.add_weight((width,), "ones", name=f"{name}_gamma"),
            self.add_weight((width,), "zeros", name=f"{name}_beta"),
        )

    def _cast(self, value: Any) -> Any:
        return ops.cast(value, self.compute_dtype)

    def _dense(self, x: Any, weights: tuple[Any, Any]) -> Any:
        return _add_bias(ops.matmul(x, self._cast(weights[0])), self._cast(weights[1]))

    def _norm(self, x: Any, weights: tuple[Any, Any]) -> Any:
        return self._cast(layer_norm(ops.cast(x, "float32"), *weights, self.shape.epsilon))


class Embeddings(_EncoderLayer):
    """Layer from token ids int32[batch, length] to token vectors [batch * length, hidden]."""

    def __init__(self, shape: Shape, **kwargs: Any) -> None:
        super().__init__(shape, **kwargs)
        self.dropout = ByteDropout(shape.dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        """Create the variables."""
        shape = self.shape
        self.tokens = self.add_weight((shape.vocabulary, shape.hidden), name="tokens")
        # All texts of a classifier are segment 0, whose vector is folded into the positions.
        self.positions = self.add_weight((shape.positions, shape.hidden), name="positions")
        self.norm = self._norm_weights("norm")

    def call(self, token_ids: Any, training: bool | None = None) -> Any:
        """Embed the tokens."""
        batch, length = ops.shape(token_ids)
        vectors = ops.take(ops.convert_to_tensor(self.tokens), token_ids, axis=0)
        vectors = vectors + ops.convert_to_tensor(self.positions)[:length]
        vectors = ops.reshape(vectors, (batch * length, self.shape.hidden))
        return self.dropout(self._norm(vectors, self.norm), training=training)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape ``[batch * length, hidden]``."""
        return (None, self.shape.hidden)


class TransformerLayer(_EncoderLayer):
    """Self-attention and feed-forward with residuals, each followed by a layer norm.

    Takes token vectors ``[batch * length, hidden]`` and a padding mask int32[batch, length].
    """

    def __init__(self, shape: Shape, **kwargs: Any) -> None:
        super().__init__(shape, **kwargs)
        self.attention_dropout = ByteDropout(shape.dropout, dtype=self.dtype_policy)
        self.attention_output_dropout = ByteDropout(shape.dropout, dtype=self.dtype_policy)
        self.feedforward_dropout = ByteDropout(shape.dropout, dtype=self.dtype_policy)

    def build(self, *input_shapes: Any) -> None:
        """Create the variables."""
        hidden, intermediate = self.shape.hidden, self.shape.intermediate
        self.query_key_value = self._dense_weights("query_key_value", hidden, 3 * hidden)
        self.attention_output = self._dense_weights("attention_output", hidden, hidden)
        self.attention_norm = self._norm_weights("attention_norm")
        self.intermediate = self._dense_weights("intermediate", hidden, intermediate)
        self.feedforward_output = self._dense_weights("feedforward_output", intermediate, hidden)
        self.feedforward_norm = self._norm_weights("feedforward_norm")

    def call(self, vectors: Any, padding_mask: Any, training: bool | None = None) -> Any:
        """Apply the layer to the token vectors."""
        attended = self._attend(vectors, padding_mask, training)
        attended = self._dense(attended, self.attention_output)
        attended = self.attention_output_dropout(attended, training=training)
        vectors = self._norm(vectors + attended, self.attention_norm)
        inner = _gelu(self._dense(vectors, self.intermediate), self.shape.exact_gelu, training)
        outer = self._dense(inner, self.feedforward_output)
        outer = self.feedforward_dropout(outer, training=training)
        return self._norm(vectors + outer, self.feedforward_norm)

    def _attend(self, vectors: Any, padding_mask: Any, training: bool | None) -> Any:
        batch, length = ops.shape(padding_mask)
        heads, hidden = self.shape.heads, self.shape.hidden
        width = hidden // heads
        projected = self._dense(vectors, self.query_key_value)
        projected = ops.reshape(projected, (batch, length, 3, heads, width))
        query, key, value = ops.unstack(ops.transpose(projected, (2, 0, 3, 1, 4)), 3)
        bias = (1.0 - ops.cast(padding_mask, self.compute_dtype)) * PADDING_LOGIT
        bias = bias[:, None, None, :]
        query = query * width**-0.5
        if training and self.attention_dropout.dropped_levels:
            # Scaling the values is cheaper than scaling the probabilities, which are more.
            value = value * self.attention_dropout.scale
            keep = self.attention_dropout.keep_mask((batch, heads, length, length), value.dtype)
            context = _attention_with_dropout(query, key, value, bias, keep)
        else:
            logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
            context = ops.matmul(ops.softmax(logits + bias), value)
        return ops.reshape(ops.transpose(context, (0, 2, 1, 3)), (batch * length, hidden))

    def compute_output_shape(self, vectors_shape: Any, padding_mask_shape: Any = None) -> Any:
        """Return the vectors' shape."""
        return vectors_shape


def layer_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
    """Normalise each row of ``x`` float32[rows, width] (Ba et al., 2016)."""
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    return centred * ops.rsqrt(variance + epsilon) * gamma + beta


def _gelu(x: Any, exact: bool, training: bool | None) -> Any:
    if training and not exact and keras.backend.backend() == "tensorflow":
        from modules.network.tensorflow_gradients import gelu_by_tanh

        return gelu_by_tanh(x)
    return ops.gelu(x, approximate=not exact)


def _attention_with_dropout(query: Any, key: Any, value: Any, bias: Any, keep: Any) -> Any:
    if keras.backend.backend() == "tensorflow":
        from modules.network.tensorflow_gradients import attention

        return attention(query, key, value, bias, keep)
    logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
    return ops.matmul(ops.softmax(logits + bias) * keep, value)


def _add_bias(x: Any, bias: Any) -> Any:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # The gradient of bias_add is a single kernel, much faster than summing a broadcast.
        return tf.nn.bias_add(x, bias)
    return x + bias


def transformer(shape: Shape) -> keras.Model:
    """Build an untrained encoder.

    Args:
        shape: sizes of the encoder.

    Returns:
        A model from ``{"token_ids", "padding_mask"}`` int32[batch, length] to token vectors
        ``[batch, length, hidden]``.
    """
    inputs = {
        "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
        "padding_mask": keras.Input((None,), dtype="int32", name="padding_mask"),
    }
    vectors = Embeddings(shape, name="embeddings")(inputs["token_ids"])
    for index in range(shape.layers):
        vectors = TransformerLayer(shape, name=f"layer_{index}")(vectors, inputs["padding_mask"])
    vectors = _Unflatten(shape.hidden, name="unflatten")(vectors, inputs["token_ids"])
    return keras.Model(inputs, vectors, name="encoder")


class _Unflatten(keras.layers.Layer):
    """Layer from token vectors [batch * length, hidden] to [batch, length, hidden]."""

    def __init__(self, hidden: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden = hidden

    def call(self, vectors: Any, token_ids: Any) -> Any:
        """Reshape ``vectors`` like ``token_ids``."""
        batch, length = ops.shape(token_ids)
        return ops.reshape(vectors, (batch, length, self.hidden))

    def compute_output_shape(self, vectors_shape: Any, token_ids_shape: Any) -> Any:
        """Return the shape ``[batch, length, hidden]``."""
        return (*token_ids_shape, self.hidden)
