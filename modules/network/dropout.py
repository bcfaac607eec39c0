"""Dropout with cheap random numbers on a CPU.

TensorFlow draws 32 random bits per element, which takes longer on a CPU than the matrix
multiplications of attention. Eight bits suffice for a probability that is a multiple of 1/256, with
a quarter of the draws. Scaling uses the rounded probability, so that the expectation is exact.
"""

from typing import Any

import keras
from keras import ops

_LEVELS = 256


class ByteDropout(keras.layers.Layer):
    """Inverted dropout at the nearest rate that is a multiple of 1/256.

    Args:
        rate: probability of dropping an element, 0 <= rate < 1; 0.1 becomes 26/256 = 0.1016.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.dropped_levels = min(round(rate * _LEVELS), _LEVELS - 1)
        self.seed_generator = keras.random.SeedGenerator()
        self.supports_masking = True

    @property
    def scale(self) -> float:
        """Factor by which kept elements are multiplied."""
        return _LEVELS / (_LEVELS - self.dropped_levels)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Drop elements of ``inputs`` (any shape) in training."""
        if not training or not self.dropped_levels:
            return inputs
        return inputs * self.keep_mask(ops.shape(inputs), inputs.dtype) * self.scale

    def keep_mask(self, shape: tuple[Any, ...], dtype: str) -> Any:
        """Return a random tensor with 0 for dropped elements and 1 for kept ones."""
        kept = _random_bytes(shape, self.seed_generator.next()) >= self.dropped_levels
        return ops.cast(kept, dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "rate": self.rate}


def _random_bytes(shape: tuple[Any, ...], seed: Any) -> Any:
    """Return uniform uint8 values of ``shape``, determined by ``seed`` (uint32[2])."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _tensorflow_bytes(shape, seed)
    if backend == "jax":
        import jax

        return jax.random.bits(jax.random.wrap_key_data(seed), shape, "uint8")
    return keras.random.randint(shape, 0, _LEVELS, "int32", seed)


def _tensorflow_bytes(shape: tuple[Any, ...], seed: Any) -> Any:
    import tensorflow as tf

    size = tf.reduce_prod(tf.stack(shape))
    words = tf.random.stateless_uniform(
        [(size + 7) // 8], tf.cast(seed, tf.int32), minval=None, maxval=None, dtype=tf.uint64
    )
    flat = tf.reshape(tf.bitcast(words, tf.uint8), [-1])
    return tf.reshape(flat[:size], shape)
