"""Data-parallel training in several processes, on one or more machines, from ``TF_CONFIG``.

Keras 3 does not train under ``tf.distribute.MultiWorkerMirroredStrategy``: ``Model.fit`` reduces
batches and scalars in ways that its collectives reject (keras-team/keras#20585). This module only
uses the strategy's cluster and collectives. Each worker runs a plain Keras model and ``fit`` loop
on its share of every batch, and the gradients are summed over all workers before the optimizer
applies them, as in Horovod (Sergeev and Del Balso, 2018). All workers have the same weights after
every step. Metrics are summed before they are read.

TensorFlow is imported lazily, because other Keras backends do not use ``TF_CONFIG``.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from modules.contract.errors import UserError
from modules.fit.worker_place import place


@dataclasses.dataclass(frozen=True)
class Workers:
    """This process among the workers of a training run.

    Attributes:
        index: its number, from 0. Worker 0 is the chief, the only one that writes files.
        count: number of workers.
        strategy: the ``MultiWorkerMirroredStrategy`` whose collectives connect them.
    """

    index: int
    count: int
    strategy: Any

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes checkpoints, logs and the export."""
        return self.index == 0

    def sum(self, values: Sequence[Any]) -> list[Any]:
        """Sum each tensor over all workers, which must all call this in the same order.

        Args:
            values: float tensors with the same shapes on every worker.

        Returns:
            The sums, in the same order.
        """
        import tensorflow as tf

        def reduce() -> list[Any]:
            # The collective requires its inputs on the replica's device.
            copies = [tf.identity(tf.convert_to_tensor(value)) for value in values]
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, copies)

        return list(self.strategy.run(reduce)) if len(values) else []

    def wait_for_all(self) -> None:
        """Wait until every worker has called this."""
        self.sum([np.ones(1, np.float32)])

    def check_same(self, what: str, *numbers: int) -> None:
        """Check that all workers have the same numbers.

        Args:
            what: description of the numbers, for the error message.
            numbers: whole numbers below 2**24.

        Raises:
            UserError: the numbers of another worker differ.
        """
        mine = np.asarray(numbers, np.float32)
        # The squares are needed too: (1, 3) and (2, 2) have the same sum.
        total, squares = (np.asarray(value) for value in self.sum([mine, mine * mine]))
        if not (total == self.count * mine).all() or not np.allclose(
            squares, self.count * mine * mine, rtol=1e-6
        ):
            raise UserError(
                f"the workers of TF_CONFIG differ in {what}: {list(numbers)} on worker "
                f"{self.index}; give all of them the same data, config and pipeline.root"
            )

    def copy_from_chief(self, variables: Sequence[keras.Variable]) -> None:
        """Copy the chief's values of floating-point variables to every worker."""
        floats = [v for v in variables if keras.backend.is_float_dtype(v.dtype)]
        values = [keras.ops.convert_to_tensor(v) for v in floats]
        if not self.is_chief:
            values = [keras.ops.zeros_like(value) for value in values]
        for variable, value in zip(floats, self.sum(values), strict=True):
            variable.assign(value)


def join() -> Workers | None:
    """Connect to the other workers, and wait until all have connected.

    Must be called before TensorFlow runs any operation; afterwards it can no longer be set up.

    Returns:
        This process among the workers, or None if it trains alone.

    Raises:
        UserError: ``TF_CONFIG`` is malformed, or this worker sees several GPUs.
    """
    found = place()
    if found is None:
        return None
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            "TF_CONFIG: training on several workers requires the Keras backend tensorflow, "
            f"received {keras.backend.backend()}; unset KERAS_BACKEND"
        )
    import tensorflow as tf

    index, count = found
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if strategy.num_replicas_in_sync != count:
        raise UserError(
            f"TF_CONFIG: each worker must have one GPU, received {strategy.num_replicas_in_sync} "
            f"devices for {count} workers; start a worker per GPU and set its CUDA_VISIBLE_DEVICES"
        )
    return Workers(index, count, strategy)


def parallel_model(model: keras.Model, workers: Workers) -> keras.Model:
    """Return a model with the same layers and weights that trains together with other workers.

    Args:
        model: a functional model that is not compiled and whose layers add no losses.
        workers: this process among the workers.
    """
    parallel = _ParallelModel(model.inputs, model.outputs[0], name=model.name)
    parallel.workers = workers
    return parallel


@keras.saving.register_keras_serializable(package="bert_tfx")
class _ParallelModel(keras.Model):
    """A model that sums gradients and metrics over all workers.

    A batch is one worker's share, padded with rows of weight 0 to the length of the others.
    """

    workers: Workers

    def train_step(self, data: Any) -> dict[str, Any]:
        """Train on ``(inputs, labels, weights)`` with the mean gradient over all workers' rows."""
        import tensorflow as tf

        inputs, labels, weights = data
        with tf.GradientTape() as tape:
            answers = self(inputs, training=True)
            loss, rows = self._loss_and_rows(inputs, labels, answers, weights, training=True)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_weights)
        *gradients, all_rows = self.workers.sum([*gradients, rows])
        self.optimizer.apply([g / tf.cast(all_rows, g.dtype) for g in gradients])
        return self._record(inputs, labels, answers, weights, loss, rows)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Compute the metrics of one share of a batch."""
        inputs, labels, weights = data
        answers = self(inputs, training=False)
        loss, rows = self._loss_and_rows(inputs, labels, answers, weights, training=False)
        return self._record(inputs, labels, answers, weights, loss, rows)

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the metrics; outside a step, those of all workers together."""
        import tensorflow as tf

        if tf.executing_eagerly():
            variables = [v for metric in self.metrics for v in metric.variables]
            for variable, total in zip(variables, self.workers.sum(variables), strict=True):
                variable.assign(total)
        return super().get_metrics_result()

    def _loss_and_rows(
        self, inputs: Any, labels: Any, answers: Any, weights: Any, training: bool
    ) -> tuple[Any, Any]:
        """Return the loss summed over the rows, and the number of rows with a weight."""
        mean = self.compute_loss(inputs, labels, answers, weights, training=training)
        rows = keras.ops.sum(keras.ops.cast(weights > 0, "float32"))
        return mean * keras.ops.cast(keras.ops.shape(weights)[0], mean.dtype), rows

    def _record(
        self, inputs: Any, labels: Any, answers: Any, weights: Any, loss: Any, rows: Any
    ) -> dict[str, Any]:
        # The first metric in Keras is the mean loss.
        self.metrics[0].update_state(loss / keras.ops.maximum(rows, 1.0), sample_weight=rows)
        return self.compute_metrics(inputs, labels, answers, weights)
