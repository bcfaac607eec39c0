"""AdamW with warm-up and linear decay, fused into one kernel on TensorFlow."""

from typing import Any

import keras
from keras import ops

#: Variables with these in their path are not decayed (Devlin et al., 2018: "biases and LayerNorm").
NOT_DECAYED = ("bias", "beta", "gamma", "layer_norm")


@keras.saving.register_keras_serializable(package="bert_tfx")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise to ``peak`` during the warm-up, then a linear fall to 0 after the last step.

    The rate of the first step is ``peak / warmup_steps``, not 0, so that no step is wasted.

    Args:
        peak: the highest learning rate.
        warmup_steps: steps of the warm-up; 0 starts at the peak.
        total_steps: steps of the whole run.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int) -> None:
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step: Any) -> Any:
        """Return the learning rate, a float32 scalar, of a step counted from 0."""
        step = ops.cast(step, "float32")
        rise = (step + 1.0) / max(self.warmup_steps, 1)
        fall = (self.total_steps - step) / max(self.total_steps - self.warmup_steps, 1)
        return self.peak * ops.clip(ops.minimum(rise, fall), 0.0, 1.0)

    def get_config(self) -> dict[str, float]:
        """Return the constructor's arguments."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }


def adamw(
    learning_rate: float, weight_decay: float, warmup_fraction: float, total_steps: int
) -> keras.optimizers.Optimizer:
    """Create AdamW (Loshchilov and Hutter, 2019) with BERT's fine-tuning schedule.

    Args:
        learning_rate: the peak learning rate.
        weight_decay: decoupled decay; not applied to biases and layer norms.
        warmup_fraction: share of ``total_steps`` in which the learning rate rises.
        total_steps: steps of the whole run.
    """
    schedule = WarmupLinearDecay(learning_rate, round(warmup_fraction * total_steps), total_steps)
    optimizer = FusedAdamW(schedule, weight_decay=weight_decay, epsilon=1e-8)
    optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return optimizer


@keras.saving.register_keras_serializable(package="bert_tfx")
class FusedAdamW(keras.optimizers.AdamW):
    """Keras's AdamW with a single kernel per variable on TensorFlow.

    Keras computes the update in a dozen operations, each of which reads and writes all weights and
    slots. TensorFlow has one kernel for the same update.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update ``variable`` and its slots."""
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), step),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.convert_to_tensor(gradient),
        )
