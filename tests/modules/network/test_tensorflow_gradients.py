"""Hand-written gradients are equal to TensorFlow's own."""

from collections.abc import Callable

import pytest
import tensorflow as tf

from modules.network import tensorflow_gradients

BATCH, HEADS, LENGTH, WIDTH = 2, 3, 5, 4


def values_and_gradients(function: Callable, arguments: list[tf.Tensor]) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        value = function(*arguments)
        weights = tf.cos(tf.range(tf.size(value), dtype=value.dtype))
        weighted = tf.reduce_sum(value * tf.reshape(weights, tf.shape(value)))
    return [value, *tape.gradient(weighted, arguments)]


def assert_same(ours: Callable, plain: Callable, arguments: list[tf.Tensor]) -> None:
    pairs = zip(
        values_and_gradients(ours, arguments), values_and_gradients(plain, arguments), strict=True
    )
    for got, expected in pairs:
        tf.debugging.assert_near(got, expected, atol=2e-6, rtol=1e-5)


def test_gelu_and_its_gradient_match_tensorflow() -> None:
    x = tf.constant([[-9.0, -1.5, -1e-3, 0.0, 0.3], [2.0, 7.0, 1e-3, -0.7, 40.0]])
    assert_same(tensorflow_gradients.gelu_by_tanh, lambda x: tf.nn.gelu(x, approximate=True), [x])


def test_gelu_in_bfloat16_is_accurate_to_its_precision() -> None:
    x = tf.cast(tf.linspace(-5.0, 5.0, 101), tf.bfloat16)
    exact = tf.nn.gelu(tf.cast(x, tf.float32), approximate=True)
    got = tensorflow_gradients.gelu_by_tanh(x)
    assert got.dtype == tf.bfloat16
    tf.debugging.assert_near(tf.cast(got, tf.float32), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("padded", [False, True])
def test_attention_with_dropout_matches_tensorflow(padded: bool) -> None:
    shape = [BATCH, HEADS, LENGTH, WIDTH]
    tensors = [tf.random.stateless_normal(shape, [1, part]) for part in range(3)]
    keep = tf.random.stateless_uniform([BATCH, HEADS, LENGTH, LENGTH], [2, 0])
    keep = tf.cast(keep > 0.3, tf.float32)
    mask = tf.sequence_mask([LENGTH, 3 if padded else LENGTH], LENGTH, tf.float32)
    bias = ((1.0 - mask) * -3e4)[:, None, None, :]

    def ours(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        return tensorflow_gradients.attention(query, key, value, bias, keep)

    def plain(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        logits = tf.matmul(query, key, transpose_b=True) + bias
        return tf.matmul(tf.nn.softmax(logits) * keep, value)

    assert_same(ours, plain, tensors)
