"""Data-parallel training over several processes, on one machine or many, from ``TF_CONFIG``.

Keras 3 does not train under ``tf.distribute.MultiWorkerMirroredStrategy``: ``Model.fit`` reduces
whole batches and scalars in ways that its collectives refuse (keras-team/keras#20585). What works
is the strategy's own part: the cluster and the collectives. So each worker has a plain Keras model
and ``fit`` loop, on its share of every batch, and the gradients are summed over all workers before
the optimizer sees them, as in Sergeev and Del Balso, 2018 (Horovod). All workers hold the same
weights after every step; metrics are summed before they are read.

TensorFlow is imported on use: other Keras backends have no ``TF_CONFIG``.
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
        index: its number, from 0. Worker 0 is the chief: it alone writes.
        count: all workers.
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
        """Each tensor summed over all workers, who must all call this in the same order.

        Args:
            values: float tensors, of the same shapes on every worker.
        """
        import tensorflow as tf

        def reduce() -> list[Any]:
            # The copies are placed on the replica's device, where the collective looks for them.
            copies = [tf.identity(tf.convert_to_tensor(value)) for value in values]
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, copies)

        return list(self.strategy.run(reduce)) if len(values) else []

    def wait_for_all(self) -> None:
        """Return when every worker has called this."""
        self.sum([np.ones(1, np.float32)])

    def check_same(self, what: str, *numbers: int) -> None:
        """Refuse workers that disagree.

        Args:
            what: the numbers, in words.
            numbers: whole numbers below 2**24.

        Raises:
            UserError: another worker has other numbers.
        """
        mine = np.asarray(numbers, np.float32)
        # Squares too: the mean alone does not tell (1, 3) from (2, 2).
        total, squares = (np.asarray(value) for value in self.sum([mine, mine * mine]))
        if not (total == self.count * mine).all() or not np.allclose(
            squares, self.count * mine * mine, rtol=1e-6
        ):
            raise UserError(
                f"the workers of TF_CONFIG differ in {what}: {list(numbers)} on worker "
                f"{self.index}; give all of them the same data, config and pipeline.root"
            )

    def copy_from_chief(self, variables: Sequence[keras.Variable]) -> None:
        """Give every worker the chief's values of the floating-point variables."""
        floats = [v for v in variables if keras.backend.is_float_dtype(v.dtype)]
        values = [keras.ops.convert_to_tensor(v) for v in floats]
        if not self.is_chief:
            values = [keras.ops.zeros_like(value) for value in values]
        for variable, value in zip(floats, self.sum(values), strict=True):
            variable.assign(value)


def join() -> Workers | None:
    """Connect to the other workers; None where there are none.

    To be called before TensorFlow runs anything: it then refuses to be set up. Waits until every
    worker is there.

    Raises:
        UserError: ``TF_CONFIG`` is not legal, or this worker sees several GPUs.
    """
    found = place()
    if found is None:
        return None
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            "TF_CONFIG: training on several workers needs the Keras backend tensorflow, received "
            f"{keras.backend.backend()}; unset KERAS_BACKEND"
        )
    import tensorflow as tf

    index, count = found
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if strategy.num_replicas_in_sync != count:
        raise UserError(
            f"TF_CONFIG: one GPU a worker, received {strategy.num_replicas_in_sync} devices for "
            f"{count} workers; start a worker for each GPU, each with its own CUDA_VISIBLE_DEVICES"
        )
    return Workers(index, count, strategy)


def parallel_model(model: keras.Model, workers: Workers) -> keras.Model:
    """The same layers and weights as a model that trains together with the other workers.

    Args:
        model: functional, not compiled. Layers may have no losses of their own.
        workers: this process among them.
    """
    parallel = _ParallelModel(model.inputs, model.outputs[0], name=model.name)
    parallel.workers = workers
    return parallel


@keras.saving.register_keras_serializable(package="bert_tfx")
class _ParallelModel(keras.Model):
    """Sums gradients and metrics over all workers.

    A batch is one worker's share; rows of weight 0 fill it up to the others' length.
    """

    workers: Workers

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on ``(inputs, labels, weights)``: the mean gradient over all workers' rows."""
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
        """Metrics of one share of a batch."""
        inputs, labels, weights = data
        answers = self(inputs, training=False)
        loss, rows = self._loss_and_rows(inputs, labels, answers, weights, training=False)
        return self._record(inputs, labels, answers, weights, loss, rows)

    def get_metrics_result(self) -> dict[str, Any]:
        """The metrics; read outside a step, those of all workers together."""
        import tensorflow as tf

        if tf.executing_eagerly():
            variables = [v for metric in self.metrics for v in metric.variables]
            for variable, total in zip(variables, self.workers.sum(variables), strict=True):
                variable.assign(total)
        return super().get_metrics_result()

    def _loss_and_rows(
        self, inputs: Any, labels: Any, answers: Any, weights: Any, training: bool
    ) -> tuple[Any, Any]:
        """The loss summed over the rows (the configured loss is their mean), and how many count."""
        mean = self.compute_loss(inputs, labels, answers, weights, training=training)
        rows = keras.ops.sum(keras.ops.cast(weights > 0, "float32"))
        return mean * keras.ops.cast(keras.ops.shape(weights)[0], mean.dtype), rows

    def _record(
        self, inputs: Any, labels: Any, answers: Any, weights: Any, loss: Any, rows: Any
    ) -> dict[str, Any]:
        # Keras's first metric is the mean loss.
        self.metrics[0].update_state(loss / keras.ops.maximum(rows, 1.0), sample_weight=rows)
        return self.compute_metrics(inputs, labels, answers, weights)
