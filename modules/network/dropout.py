"""Dropout whose random numbers cost next to nothing on a CPU.

TensorFlow draws 32 random bits for each element, and on a CPU drawing them takes longer than the
matrix multiplications of attention. Eight bits are enough to drop an element with a probability
that is a multiple of 1/256: four times fewer draws. Scaling uses the rounded probability, so that
the expectation is exact.
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
        """What kept elements are multiplied by."""
        return _LEVELS / (_LEVELS - self.dropped_levels)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Drop elements of ``inputs`` (any shape) while training."""
        if not training or not self.dropped_levels:
            return inputs
        return inputs * self.keep_mask(ops.shape(inputs), inputs.dtype) * self.scale

    def keep_mask(self, shape: tuple[Any, ...], dtype: str) -> Any:
        """A tensor of 0 where an element is dropped and 1 where it is kept."""
        kept = _random_bytes(shape, self.seed_generator.next()) >= self.dropped_levels
        return ops.cast(kept, dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "rate": self.rate}


def _random_bytes(shape: tuple[Any, ...], seed: Any) -> Any:
    """Uniform uint8 of ``shape``, a pure function of ``seed`` (uint32[2])."""
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
