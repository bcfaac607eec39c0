"""Callbacks of the training loop: early stopping, checkpoints, progress."""

import math
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from modules.contract import progress
from modules.contract.errors import UserError
from modules.fit.checkpoints import CheckpointStore

_EVENTS_A_SECOND = 4


class EarlyStopping(keras.callbacks.Callback):
    """Early stopping after ``patience`` epochs without a better eval metric.

    Unlike in Keras's callback, the state is saved in checkpoints, so that a resumed run stops at
    the same epoch as an uninterrupted one.

    Args:
        patience: number of epochs; 0 never stops early and keeps the last weights.
        monitor: "val_loss" or "val_accuracy".
    """

    def __init__(self, patience: int, monitor: str = "val_loss") -> None:
        super().__init__()
        self.patience = patience
        self.monitor = monitor
        self.metrics: dict[str, float] = {}
        self.epochs_since_best = 0
        self.best_weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare the eval metric of this epoch with the best so far.

        Raises:
            UserError: the eval loss is not a number.
        """
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(metrics["val_loss"]):
            raise UserError(
                f"training diverged: the eval loss is {metrics['val_loss']} after epoch "
                f"{epoch + 1}; lower trainer.learning_rate"
            )
        if not self.patience or self._is_better(metrics):
            self.metrics = metrics
            self.epochs_since_best = 0
            if self.patience:
                self.best_weights = [np.copy(w) for w in self.model.get_weights()]
            return
        self.epochs_since_best += 1

    def restore_best(self) -> None:
        """Restore the best weights, after the last epoch."""
        if self.best_weights:
            self.model.set_weights(self.best_weights)

    def _is_better(self, metrics: dict[str, float]) -> bool:
        if not self.metrics:
            return True
        now, best = metrics[self.monitor], self.metrics[self.monitor]
        return now < best if self.monitor == "val_loss" else now > best

    @property
    def finished(self) -> bool:
        """Whether training should stop."""
        return bool(self.patience) and self.epochs_since_best >= self.patience


class Checkpoint(keras.callbacks.Callback):
    """Checkpoints at the end of each epoch and, optionally, at regular steps.

    Must run after ``EarlyStopping``, whose state it saves.

    Args:
        store: where checkpoints are written.
        stopping: the run's early stopping.
        batches: steps per epoch.
        every_steps: steps between checkpoints; 0 saves only at the end of each epoch.
        saves: False for workers other than the chief, which only restore.
    """

    def __init__(
        self,
        store: CheckpointStore,
        stopping: EarlyStopping,
        batches: int,
        every_steps: int,
        saves: bool = True,
    ) -> None:
        super().__init__()
        self._saves = saves
        self._batches = batches
        self._store = store
        self._stopping = stopping
        self._every_steps = every_steps
        self._epoch = 0
        self._batch = 0

    def restore(self) -> tuple[int, int]:
        """Load the checkpoint, if there is one, into the callback's model.

        Returns:
            The epoch to resume and its first batch; ``(0, 0)`` without a checkpoint.
        """
        found = self._store.load(self._variables())
        if found is None:
            return 0, 0
        state, extra = found
        self._stopping.metrics = state["metrics"]
        self._stopping.epochs_since_best = state["epochs_since_best"]
        self._stopping.best_weights = [extra[str(i)] for i in range(len(extra))]
        self._epoch, self._batch = state["epoch"], state["batch"]
        return self._epoch, self._batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save at multiples of ``every_steps``."""
        self._batch += 1
        # The last step of an epoch is saved by on_epoch_end.
        due = self._every_steps and self._batch % self._every_steps == 0
        if due and self._batch < self._batches:
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save with the next epoch as the one to resume."""
        self._epoch, self._batch = epoch + 1, 0
        self._save()

    def _save(self) -> None:
        if not self._saves:
            return
        state = {
            "epoch": self._epoch,
            "batch": self._batch,
            "metrics": self._stopping.metrics,
            "epochs_since_best": self._stopping.epochs_since_best,
        }
        extra = {str(i): w for i, w in enumerate(self._stopping.best_weights)}
        self._store.save(self._variables(), state, extra)

    def _variables(self) -> list[keras.Variable]:
        # Unlike ``weights``, ``variables`` includes the states of dropout seeds.
        return [*self.model.variables, *self.model.optimizer.variables]


class ReportProgress(keras.callbacks.Callback):
    """Progress events, at most four per second.

    Args:
        steps: steps of the whole run.
        epochs: epochs of the whole run.
        fields: fields of each event, such as the component.
        first_step: steps completed before this process started.
    """

    def __init__(
        self, steps: int, epochs: int, fields: Mapping[str, object], first_step: int = 0
    ) -> None:
        super().__init__()
        self._steps = steps
        self._epochs = epochs
        self._fields = dict(fields)
        self._first_step = self._step = first_step
        self._epoch = 0
        self._started = time.monotonic()
        self._last = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Store the epoch for the next events."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Emit an event, unless the last one is less than a quarter of a second old."""
        self._step += 1
        now = time.monotonic()
        if now - self._last < 1 / _EVENTS_A_SECOND and self._step < self._steps:
            return
        self._last = now
        done = self._step - self._first_step
        seconds_left = (now - self._started) / done * (self._steps - self._step)
        progress.emit(
            "step",
            **self._fields,
            step=self._step,
            steps=self._steps,
            epoch=self._epoch + 1,
            epochs=self._epochs,
            loss=round(float((logs or {}).get("loss", float("nan"))), 5),
            seconds_left=round(seconds_left, 1),
        )
