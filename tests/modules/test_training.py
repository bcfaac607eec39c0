"""Training: learning, reproducibility, resuming after a kill, early stopping and bad data."""

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from modules import training
from modules.contract.errors import DataError, UserError
from modules.contract.hparams import HParams, TextSettings
from modules.fit import checkpoints, optimizers, training_loop
from modules.fit.callbacks import EarlyStopping
from tests.modules.tiny_runs import make_run, tokenized

ROOT = Path(__file__).parents[2]
#: Makes a new process import these tests; site-packages may contain another package "tests".
FIND_TESTS = f"""
import sys, types
sys.path.insert(0, {str(ROOT)!r})
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = [{str(ROOT / "tests")!r}]
"""


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_training_learns_and_is_reproducible_with_the_same_seed(tiny_bert: str) -> None:
    first = training_loop.train(make_run(tiny_bert, epochs=4))
    assert first.metrics["val_accuracy"] > 0.9
    second = training_loop.train(make_run(tiny_bert, epochs=4))
    assert same(first.model.get_weights(), second.model.get_weights())
    other = training_loop.train(make_run(tiny_bert, epochs=4, seed=7))
    assert not same(first.model.get_weights(), other.model.get_weights())


def test_zero_epochs_give_the_untrained_classifier(tiny_bert: str) -> None:
    run = make_run(tiny_bert, epochs=0)
    outcome = training_loop.train(run)
    assert outcome.metrics == {}
    start = make_run(tiny_bert).encoder.backbone().token_embedding.get_weights()[0]
    tokens = outcome.model.get_layer("encoder").get_layer("embeddings").get_weights()[0]
    np.testing.assert_array_equal(tokens, start)


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def unbroken(tiny_bert: str) -> training_loop.TrainedModel:
    """Train for two epochs of eight steps without interruption."""
    return training_loop.train(make_run(tiny_bert, checkpoint_every_steps=1))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, 8, 13])
def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tiny_bert: str,
    unbroken: training_loop.TrainedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    run = make_run(tiny_bert, checkpoint_every_steps=1)
    broken = dataclasses.replace(run, checkpoint_directory=str(tmp_path / "checkpoints"))
    saves: list[int] = []
    save = checkpoints.CheckpointStore.save

    def save_and_die(self: Any, *arguments: Any) -> None:
        save(self, *arguments)
        saves.append(1)
        if len(saves) == steps:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.CheckpointStore, "save", save_and_die)
        with pytest.raises(KilledError):
            training_loop.train(broken)
    resumed = training_loop.train(broken)
    assert same(resumed.model.get_weights(), unbroken.model.get_weights())
    slots = [
        optimizer.variables for optimizer in (resumed.model.optimizer, unbroken.model.optimizer)
    ]
    assert same(*([keras.ops.convert_to_numpy(v) for v in group] for group in slots))
    assert resumed.metrics["val_loss"] == unbroken.metrics["val_loss"]
    training_loop.remove_checkpoint(broken)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_run_that_stopped_early_does_not_train_further(tiny_bert: str, tmp_path: Path) -> None:
    run = make_run(
        tiny_bert, epochs=6, learning_rate=1e-9, early_stopping_patience=1, monitor="val_accuracy"
    )
    run = dataclasses.replace(run, checkpoint_directory=str(tmp_path))
    first = training_loop.train(run)
    stopped_after = int(first.model.optimizer.iterations)
    assert stopped_after < 6 * 8
    second = training_loop.train(run)
    assert int(second.model.optimizer.iterations) == stopped_after
    assert same(first.model.get_weights(), second.model.get_weights())


@pytest.mark.slow
def test_run_killed_by_the_system_resumes(tiny_bert: str, tmp_path: Path) -> None:
    script = FIND_TESTS + (
        "import dataclasses; from modules.fit import training_loop\n"
        "from tests.modules.tiny_runs import make_run\n"
        f"run = make_run({tiny_bert!r}, epochs=40, checkpoint_every_steps=2,"
        " early_stopping_patience=0)\n"
        f"run = dataclasses.replace(run, checkpoint_directory={str(tmp_path)!r})\n"
        "outcome = training_loop.train(run)\n"
        "print('steps', int(outcome.model.optimizer.iterations), outcome.metrics['val_loss'])\n"
    )
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command)
    checkpoint = tmp_path / "checkpoint.npz"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    output = subprocess.run(command, capture_output=True, text=True)
    unbroken = training_loop.train(
        make_run(tiny_bert, epochs=40, checkpoint_every_steps=2, early_stopping_patience=0)
    )
    assert output.stdout.splitlines()[-1] == f"steps 320 {unbroken.metrics['val_loss']}"


def test_partial_checkpoint_is_not_read(tmp_path: Path) -> None:
    store = checkpoints.CheckpointStore(str(tmp_path))
    variable = keras.Variable(np.arange(3.0))
    store.save([variable], {"epoch": 1}, {"0": np.ones(2)})
    (tmp_path / "checkpoint.npz.part").write_bytes(b"half")
    variable.assign(np.zeros(3))
    found = store.load([variable])
    assert found is not None
    state, extra = found
    assert state == {"epoch": 1}
    np.testing.assert_array_equal(extra["0"], np.ones(2))
    np.testing.assert_array_equal(variable, np.arange(3.0))


def test_early_stopping_keeps_the_best_weights(tiny_bert: str) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    stopping = EarlyStopping(patience=2)
    stopping.set_model(model)
    for epoch, loss in enumerate([0.5, 0.4, 0.6, 0.45]):
        model.set_weights([np.full((1, 1), epoch, np.float32), np.zeros(1, np.float32)])
        stopping.on_epoch_end(epoch, {"val_loss": loss, "val_accuracy": 0.5})
        assert stopping.finished == (epoch == 3)
    stopping.restore_best()
    assert model.get_weights()[0][0, 0] == 1
    assert stopping.metrics["val_loss"] == 0.4


def test_diverged_run_is_reported_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^training diverged: .*nan after epoch 1.*learning_rate$"):
        EarlyStopping(patience=1).on_epoch_end(0, {"val_loss": float("nan")})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluation": tokenized(0)}, "^the eval split is empty"),
        ({"train": tokenized(0)}, "^the train split is empty"),
        (
            {"train": dataclasses.replace(tokenized(9), labels=np.ones(9, np.int32))},
            "^the train split has only one class, 'positive'",
        ),
    ],
)
def test_data_that_cannot_train_a_classifier_is_rejected(
    tiny_bert: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        training_loop.train(make_run(tiny_bert, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"xla": True}, {"precision": "mixed_bfloat16"}, {"precision": "mixed_float16"}],
    ids=["xla", "bfloat16", "float16"],
)
def test_training_learns_in_other_precisions_and_with_xla(
    tiny_bert: str, changes: dict[str, Any]
) -> None:
    run = make_run(tiny_bert, epochs=6, **changes)
    outcome = training_loop.train(run)
    assert outcome.metrics["val_accuracy"] > 0.9


def test_max_length_beyond_the_encoder_is_rejected(tiny_bert: str) -> None:
    settings = TextSettings(tiny_bert, max_length=513)
    run = make_run(tiny_bert)
    with pytest.raises(UserError, match=r"^trainer.max_length is 513, .* at most 512 tokens"):
        training.make_run(None, None, settings, run.hparams, run.settings)


def test_balanced_class_weights_apply_to_batches(tiny_bert: str) -> None:
    data = tokenized(60)
    plan = training_loop.train_plan(make_run(tiny_bert, train=data, class_weights="balanced"))
    weights = np.concatenate([w for _, _, w in plan.epoch()])
    assert weights.mean() == pytest.approx(1.0)
    assert training_loop.train_plan(make_run(tiny_bert)).class_weights is None


def test_learning_rate_rises_then_falls_to_zero() -> None:
    schedule = optimizers.WarmupLinearDecay(1.0, warmup_steps=4, total_steps=12)
    rates = [float(schedule(step)) for step in range(13)]
    np.testing.assert_allclose(rates[:4], [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(np.diff(rates[4:]), -1 / 8, atol=1e-6)
    assert rates[12] == 0


def test_fused_update_matches_keras_adamw() -> None:
    generator = np.random.default_rng(0)
    start = generator.normal(size=(5, 3)).astype(np.float32)
    gradients = generator.normal(size=(7, 5, 3)).astype(np.float32)
    results = []
    for make in (keras.optimizers.AdamW, optimizers.FusedAdamW):
        variable = keras.Variable(start)
        optimizer = make(1e-2, weight_decay=0.1, epsilon=1e-8)
        for gradient in gradients:
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        results.append(keras.ops.convert_to_numpy(variable))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5)


def test_tuner_values_replace_those_of_the_config() -> None:
    hparams = HParams(learning_rate=1.0, epochs=7)
    tuned = {"space": [], "values": {"learning_rate": 2.0, "tuner/epochs": 3, "batch_size": 4}}
    assert training.with_tuned(hparams, tuned) == HParams(learning_rate=2.0, epochs=7, batch_size=4)
    assert training.with_tuned(hparams, None) == hparams


def test_fingerprint_distinguishes_runs(tiny_bert: str) -> None:
    run = make_run(tiny_bert)
    text = TextSettings(encoder=tiny_bert)
    fingerprints = {
        training.run_fingerprint(run, text),
        training.run_fingerprint(make_run(tiny_bert, seed=1), text),
        training.run_fingerprint(make_run(tiny_bert, dropout=0.2), text),
        training.run_fingerprint(make_run(tiny_bert, train=tokenized(59)), text),
        training.run_fingerprint(make_run(tiny_bert, code_digest="x"), text),
        training.run_fingerprint(run, TextSettings(encoder=tiny_bert, max_length=9)),
    }
    assert len(fingerprints) == 6
    same_run = make_run(tiny_bert, tensorboard=True, expected_answers=1)
    assert training.run_fingerprint(same_run, text) == training.run_fingerprint(run, text)


@pytest.mark.slow
def test_run_writes_tensorboard_logs_and_progress_events(
    tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "progress"
    monkeypatch.setenv("BERT_PROGRESS_FILE", str(log))
    run = make_run(tiny_bert)
    training_loop.train(dataclasses.replace(run, log_directory=str(tmp_path / "tensorboard")))
    events = [json.loads(line) for line in log.read_text().splitlines()]
    last = events[-1]
    assert {e["event"] for e in events} == {"step"}
    assert (last["component"], last["step"], last["steps"]) == ("Trainer", 16, 16)
    assert (last["epoch"], last["epochs"], last["seconds_left"]) == (2, 2, 0.0)
    assert all(b["time"] - a["time"] > 0.2 for a, b in itertools.pairwise(events[:-1]))
    assert {path.name for path in (tmp_path / "tensorboard").iterdir()} == {"train", "validation"}


@pytest.mark.slow
def test_two_devices_share_a_batch(tiny_bert: str) -> None:
    script = FIND_TESTS + (
        "import tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "two = [tf.config.LogicalDeviceConfiguration()] * 2\n"
        "tf.config.set_logical_device_configuration(cpu, two)\n"
        "from modules.fit import training_loop\n"
        "from tests.modules.tiny_runs import make_run\n"
        "strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])\n"
        "training_loop._distribution = strategy.scope\n"
        f"outcome = training_loop.train(make_run({tiny_bert!r}, epochs=6))\n"
        "assert outcome.metrics['val_accuracy'] > 0.9, outcome.metrics\n"
        "print(strategy.num_replicas_in_sync)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1:] == ["2"], result.stderr[-2000:]
