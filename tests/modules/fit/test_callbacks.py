"""Early stopping, checkpoints and progress, on a model of one layer."""

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from modules.contract import progress
from modules.contract.errors import UserError
from modules.fit.callbacks import Checkpoint, EarlyStopping, ReportProgress
from modules.fit.checkpoints import CheckpointStore


def make_model(value: float = 0.0) -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    model.set_weights([np.full(weight.shape, value) for weight in model.get_weights()])
    return model


def weight(model: keras.Model) -> float:
    return float(model.get_weights()[0][0, 0])


def end_epochs(stopping: EarlyStopping, model: keras.Model, *epochs: dict[str, float]) -> None:
    """End epochs with these metrics; epoch n leaves weights of n."""
    stopping.set_model(model)
    for number, metrics in enumerate(epochs):
        model.set_weights([np.full(each.shape, number) for each in model.get_weights()])
        stopping.on_epoch_end(number, metrics)


@pytest.mark.parametrize(
    ("monitor", "best"), [("val_loss", 1), ("val_accuracy", 2)], ids=["loss", "accuracy"]
)
def test_best_epoch_is_kept(monitor: str, best: int) -> None:
    epochs = [
        {"val_loss": 0.5, "val_accuracy": 0.6},
        {"val_loss": 0.4, "val_accuracy": 0.6},
        {"val_loss": 0.6, "val_accuracy": 0.8},
        {"val_loss": 0.7, "val_accuracy": 0.5},
    ]
    stopping, model = EarlyStopping(2, monitor), make_model()
    end_epochs(stopping, model, *epochs)
    assert stopping.metrics == epochs[best]
    assert stopping.finished is (best == 1)
    stopping.restore_best()
    assert weight(model) == best


def test_last_epoch_is_kept_without_patience() -> None:
    stopping, model = EarlyStopping(0, "val_loss"), make_model()
    end_epochs(stopping, model, {"val_loss": 0.1}, {"val_loss": 0.9})
    stopping.restore_best()
    assert (stopping.metrics, stopping.finished, weight(model)) == ({"val_loss": 0.9}, False, 1)


def test_diverged_training_is_refused() -> None:
    with pytest.raises(UserError, match="learning_rate"):
        end_epochs(EarlyStopping(0, "val_loss"), make_model(), {"val_loss": math.nan})


class Training:
    """A model, its early stopping and its checkpoints in one folder."""

    def __init__(self, folder: Path, value: float = 0.0, **options: Any) -> None:
        self.model = make_model(value)
        self.stopping = EarlyStopping(2, "val_loss")
        self.stopping.set_model(self.model)
        store = CheckpointStore(str(folder))
        self.checkpoint = Checkpoint(store, self.stopping, batches=4, **options)
        self.checkpoint.set_model(self.model)


def test_training_without_checkpoint_starts_at_the_beginning(tmp_path: Path) -> None:
    assert Training(tmp_path, every_steps=0).checkpoint.restore() == (0, 0)


def test_checkpoint_of_an_epoch_restores_weights_and_early_stopping(tmp_path: Path) -> None:
    first = Training(tmp_path, value=3.0, every_steps=0)
    first.stopping.on_epoch_end(0, {"val_loss": 0.5})
    for batch in range(4):
        first.checkpoint.on_train_batch_end(batch)
    first.checkpoint.on_epoch_end(0)
    again = Training(tmp_path, every_steps=0)
    assert again.checkpoint.restore() == (1, 0)
    assert weight(again.model) == 3.0
    assert again.stopping.metrics == {"val_loss": 0.5}
    assert float(again.stopping.best_weights[0][0, 0]) == 3.0


def test_checkpoint_inside_an_epoch_names_the_next_batch(tmp_path: Path) -> None:
    first = Training(tmp_path, value=2.0, every_steps=2)
    for batch in range(3):
        first.checkpoint.on_train_batch_end(batch)
    assert Training(tmp_path, every_steps=2).checkpoint.restore() == (0, 2)
    first.checkpoint.on_train_batch_end(3)
    assert Training(tmp_path, every_steps=2).checkpoint.restore() == (0, 2), "the epoch's end saves"


def test_worker_that_is_not_the_chief_writes_no_checkpoint(tmp_path: Path) -> None:
    worker = Training(tmp_path, every_steps=1, saves=False)
    worker.checkpoint.on_train_batch_end(0)
    worker.checkpoint.on_epoch_end(0)
    assert worker.checkpoint.restore() == (0, 0)


def test_progress_is_reported_at_intervals_and_at_the_last_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[dict[str, Any]] = []
    monkeypatch.setattr(progress, "emit", lambda name, **fields: events.append(fields))
    report = ReportProgress(steps=100, epochs=2, fields={"component": "Trainer"}, first_step=10)
    report.on_epoch_begin(1)
    for batch in range(90):
        report.on_train_batch_end(batch)
    assert (events[0]["step"], events[0]["epoch"], events[0]["component"]) == (11, 2, "Trainer")
    assert events[-1]["step"] == 100
    assert len(events) < 90
