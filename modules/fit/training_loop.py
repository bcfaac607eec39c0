"""The Keras training loop: seeds, precision, distribution, compilation, fit and resume."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np

from modules.contract.errors import DataError, UserError
from modules.contract.hparams import HParams, TrainingSettings
from modules.fit import batches, multi_worker, optimizers
from modules.fit.batches import BatchPlan, TokenizedTexts
from modules.fit.callbacks import Checkpoint, EarlyStopping, ReportProgress
from modules.fit.checkpoints import CheckpointStore
from modules.fit.input_pipeline import epoch_dataset
from modules.fit.multi_worker import Workers
from modules.fit.precision import resolve_precision
from modules.network import model

if TYPE_CHECKING:
    from modules.encoders.names import Encoder


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """Inputs of a training run.

    Attributes:
        encoder: pretrained encoder.
        train: texts to train on.
        evaluation: texts for early stopping.
        labels: names of the classes, in the order of their ids.
        hparams: hyper-parameters.
        settings: other settings.
        checkpoint_directory: folder of this run only, or "" for no checkpoints.
        log_directory: folder of TensorBoard logs, or "" for none.
        monitor: eval metric for early stopping, "val_loss" or "val_accuracy".
        progress: fields of each progress event.
        workers: the processes that train together; None if this process trains alone.
    """

    encoder: "Encoder"
    train: TokenizedTexts
    evaluation: TokenizedTexts
    labels: tuple[str, ...]
    hparams: HParams
    settings: TrainingSettings
    checkpoint_directory: str = ""
    log_directory: str = ""
    monitor: str = "val_loss"
    progress: Mapping[str, object] = dataclasses.field(
        default_factory=lambda: {"component": "Trainer"}
    )
    workers: Workers | None = None

    @property
    def writes(self) -> bool:
        """Whether this process writes checkpoints, logs, progress and the export."""
        return self.workers is None or self.workers.is_chief


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """Result of a training run.

    Attributes:
        model: the compiled model, in the precision of the settings.
        metrics: metrics of the epoch whose weights were kept: "loss", "accuracy" (train),
            "val_loss", "val_accuracy" (eval); empty for an untrained model.
    """

    model: keras.Model
    metrics: dict[str, float]


def check_data(train: TokenizedTexts, evaluation: TokenizedTexts, labels: tuple[str, ...]) -> None:
    """Reject data that cannot train a classifier.

    Raises:
        DataError: a split is empty, or all training texts have the same label.
    """
    for split, data in (("train", train), ("eval", evaluation)):
        if not len(data):
            raise DataError(
                f"the {split} split is empty but needs at least one text; "
                "add data or change data.split"
            )
    present = np.unique(train.labels)
    if len(present) < 2:
        name = labels[present[0]] if present[0] < len(labels) else str(present[0])
        raise DataError(
            f"the train split has only one class, {name!r}, but needs two or more; "
            "add data with other labels"
        )


@contextlib.contextmanager
def dtype_policy(policy: str) -> Iterator[None]:
    """Set Keras's dtype policy within a block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def train(run: TrainingRun) -> TrainedModel:
    """Train a classifier, resuming from the run's checkpoint if there is one.

    Args:
        run: the inputs.

    Returns:
        The model and its metrics. With ``epochs=0`` the model is untrained.

    Raises:
        UserError: the data cannot train a classifier, training diverges, or XLA is requested for
            several workers.
    """
    check_data(run.train, run.evaluation, run.labels)
    if run.workers and run.settings.xla:
        raise UserError("trainer.xla: not supported with several workers; set it to false")
    keras.utils.set_random_seed(run.settings.seed)
    steps = run.hparams.epochs * -(-len(run.train) // run.hparams.batch_size)
    devices = contextlib.nullcontext() if run.workers else _distribution()
    with dtype_policy(resolve_precision(run.settings.precision)), devices:
        classifier = model.build_classifier(run.encoder, len(run.labels), run.hparams)
        if run.workers:
            classifier = multi_worker.parallel_model(classifier, run.workers)
        compile_classifier(classifier, run.hparams, run.settings, total_steps=steps)
    metrics = _fit(classifier, run, steps) if run.hparams.epochs else {}
    return TrainedModel(classifier, metrics)


def compile_classifier(
    classifier: keras.Model, hparams: HParams, settings: TrainingSettings, total_steps: int
) -> None:
    """Compile the classifier with its optimizer, loss and metric."""
    classifier.compile(
        optimizer=optimizers.adamw(
            hparams.learning_rate, hparams.weight_decay, hparams.warmup_fraction, total_steps
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        # TensorFlow's kernels are fast without XLA; other backends depend on compilation.
        jit_compile=settings.xla if keras.backend.backend() == "tensorflow" else "auto",
    )
    # Variables that are created while a step is traced make TensorFlow trace it again.
    classifier.optimizer.build(classifier.trainable_variables)


def _fit(classifier: keras.Model, run: TrainingRun, steps: int) -> dict[str, float]:
    plan = train_plan(run)
    worker = (run.workers.index, run.workers.count) if run.workers else (0, 1)
    evaluation = epoch_dataset(
        BatchPlan(run.evaluation, run.hparams.batch_size, run.encoder.pad_token_id), worker=worker
    )
    stopping = EarlyStopping(run.settings.early_stopping_patience, run.monitor)
    stopping.set_model(classifier)
    callbacks: list[keras.callbacks.Callback] = [stopping]
    first_epoch = first_batch = 0
    if run.checkpoint_directory:
        checkpoint = _checkpoint(classifier, run, stopping, len(plan))
        first_epoch, first_batch = checkpoint.restore()
        callbacks.append(checkpoint)
    if run.workers:
        _start_together(classifier, run, first_epoch * len(plan) + first_batch)
    if run.log_directory and run.writes:
        callbacks.append(keras.callbacks.TensorBoard(run.log_directory, write_graph=False))
    if run.writes:
        done = first_epoch * len(plan) + first_batch
        callbacks.append(ReportProgress(steps, run.hparams.epochs, run.progress, done))
    for epoch in range(first_epoch, run.hparams.epochs):
        if stopping.finished:
            break
        # One call per epoch, because Keras assumes that all epochs are as long as the first one,
        # which is shorter in a resumed run.
        classifier.fit(
            epoch_dataset(plan, epoch, first_batch if epoch == first_epoch else 0, worker),
            validation_data=evaluation,
            initial_epoch=epoch,
            epochs=epoch + 1,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
    stopping.restore_best()
    return stopping.metrics


def _checkpoint(
    classifier: keras.Model, run: TrainingRun, stopping: EarlyStopping, batches_per_epoch: int
) -> Checkpoint:
    checkpoint = Checkpoint(
        CheckpointStore(run.checkpoint_directory),
        stopping,
        batches_per_epoch,
        run.settings.checkpoint_every_steps,
        saves=run.writes,
    )
    checkpoint.set_model(classifier)
    return checkpoint


def _start_together(classifier: keras.Model, run: TrainingRun, first_step: int) -> None:
    """Wait until every worker has read the checkpoint, and give all the same weights."""
    assert run.workers is not None
    run.workers.check_same(
        "data or checkpoint", len(run.train), len(run.evaluation), first_step, run.hparams.epochs
    )
    run.workers.copy_from_chief([*classifier.variables, *classifier.optimizer.variables])


def train_plan(run: TrainingRun) -> BatchPlan:
    """Return the division of the run's training texts into batches."""
    weights = None
    if run.hparams.class_weights == "balanced":
        weights = batches.class_weights(run.train.labels, len(run.labels))
    return BatchPlan(
        run.train,
        run.hparams.batch_size,
        run.encoder.pad_token_id,
        shuffle_seed=run.settings.seed,
        class_weights=weights,
    )


def remove_checkpoint(run: TrainingRun) -> None:
    """Delete the run's checkpoint, after its result has been stored."""
    if run.checkpoint_directory and os.path.isdir(run.checkpoint_directory):
        CheckpointStore(run.checkpoint_directory).remove()


def _distribution() -> contextlib.AbstractContextManager[object]:
    """Return a scope that uses all GPUs of the machine; without several GPUs, an empty one."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    if len(tf.config.list_physical_devices("GPU")) < 2:
        return contextlib.nullcontext()
    scope: contextlib.AbstractContextManager[object] = tf.distribute.MirroredStrategy().scope()
    return scope
