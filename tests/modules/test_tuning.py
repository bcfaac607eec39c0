"""The Tuner: every algorithm finds a trial, trials use their own hparams, failures are raised."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from modules import tuning
from modules.contract.errors import DataError, ModelError, UserError
from modules.contract.hparams import HParams, TunerSettings
from modules.fit import training_loop
from modules.search.search_space import make_hyperparameters
from tests.modules import transformed
from tests.modules.tiny_runs import make_run, tokenized

SPACE = {"batch_size": {"values": [8, 30]}, "learning_rate": {"values": [1e-9, 1e-2]}}


def search(tiny_bert: str, directory: Path, **settings: Any) -> Any:
    tuner_settings = TunerSettings(**{"search_space": SPACE, "max_trials": 4, **settings})
    tuner = tuning.make_tuner(
        make_run(tiny_bert, epochs=1),
        tuner_settings,
        make_hyperparameters(tuner_settings),
        str(directory),
    )
    tuner.search()
    return tuner


@pytest.mark.slow
def test_grid_tries_every_combination_and_finds_the_one_that_learns(
    tiny_bert: str, tmp_path: Path
) -> None:
    tuner = search(tiny_bert, tmp_path, algorithm="grid", objective="val_loss", epochs=4)
    tried = {
        (t.hyperparameters.values["batch_size"], t.hyperparameters.values["learning_rate"])
        for t in tuner.oracle.trials.values()
    }
    assert tried == {(8, 1e-9), (8, 1e-2), (30, 1e-9), (30, 1e-2)}
    assert tuner.get_best_hyperparameters()[0].values["learning_rate"] == 1e-2
    assert not tmp_path.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "epochs"), [("random", 1), ("hyperband", 3), ("bayesian", 1)]
)
def test_other_algorithms_finish_their_trials(
    tiny_bert: str, tmp_path: Path, algorithm: Any, epochs: int
) -> None:
    tuner = search(tiny_bert, tmp_path, algorithm=algorithm, epochs=epochs, max_trials=3)
    trials = tuner.oracle.trials.values()
    assert len(trials) >= 2
    assert {trial.status for trial in trials} == {"COMPLETED"}
    assert len(tuner.oracle.get_best_trials(tuner.oracle.max_trials)) == len(trials), (
        "as TFX reads them"
    )
    assert all(0 <= trial.score <= 1 for trial in trials)
    assert tuner.get_best_hyperparameters()[0].values["batch_size"] in (8, 30)


def test_each_trial_trains_with_its_own_values(
    tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[training_loop.TrainingRun] = []

    def train(run: training_loop.TrainingRun) -> training_loop.TrainedModel:
        runs.append(run)
        return training_loop.TrainedModel(None, {"val_accuracy": 0.5, "val_loss": 1.0})

    monkeypatch.setattr(training_loop, "train", train)
    run = make_run(tiny_bert, dropout=0.3)
    settings = TunerSettings(epochs=5, objective="val_accuracy")
    tuning.run_trial(run, settings, {"batch_size": 4}, 1)
    tuning.run_trial(run, settings, {"epochs": 2, "freeze_encoder": True}, 2)
    tuning.run_trial(run, settings, {"learning_rate": 1.0, "tuner/epochs": 3}, 3)
    assert [(r.hparams.batch_size, r.hparams.epochs) for r in runs] == [(4, 5), (8, 2), (8, 3)]
    assert {r.hparams.dropout for r in runs} == {0.3}
    assert runs[1].hparams.freeze_encoder
    assert runs[0].monitor == "val_accuracy"
    assert runs[2].progress == {"component": "Tuner", "trial": 3}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["random", "grid", "hyperband", "bayesian"])
def test_killed_search_resumes_without_repeating_trials(
    tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: Any
) -> None:
    class KilledError(BaseException):
        pass

    trained: list[HParams] = []

    def train(run: training_loop.TrainingRun, most: int) -> training_loop.TrainedModel:
        if len(trained) == most:
            raise KilledError
        trained.append(run.hparams)
        return training_loop.TrainedModel(None, {"val_accuracy": run.hparams.batch_size / 100})

    def search_until(most: int) -> Any:
        monkeypatch.setattr(training_loop, "train", lambda run: train(run, most))
        return search(tiny_bert, tmp_path / "search", algorithm=algorithm, epochs=3)

    with pytest.raises(KilledError):
        search_until(2)
    assert len(trained) == 2
    tuner = search_until(100)
    assert len(trained) == len(set(trained)) == len(tuner.oracle.trials)
    assert tuner.get_best_hyperparameters()[0].values["batch_size"] == 30
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_search_without_finished_trials_fails(
    tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: training_loop.TrainingRun) -> training_loop.TrainedModel:
        raise MemoryError("out of memory")

    monkeypatch.setattr(training_loop, "train", fail)
    for trials in (2, 9):  # keras-tuner itself stops after three consecutive failures
        with pytest.raises(ModelError, match=r"^none of the Tuner's . trials finished.*out of mem"):
            search(tiny_bert, tmp_path / str(trials), max_trials=trials)


@pytest.mark.parametrize(
    ("space", "algorithm", "message"),
    [
        ({}, "random", "is empty"),
        ({"learning_rat": {"values": [1.0]}}, "random", "did you mean 'learning_rate'"),
        ({"batch_size": {"values": []}}, "random", "no other key"),
        ({"batch_size": {"values": [8, 1.5]}}, "random", "of type int, received 1.5"),
        ({"batch_size": {"values": [8], "min": 1}}, "random", "no other key"),
        ({"batch_size": {"min": 8}}, "random", "min = x, max = y"),
        ({"dropout": {"min": 0.5, "max": 0.1}}, "random", "min must be below its max"),
        ({"dropout": {"min": 0, "max": 1, "sampling": "log"}}, "random", "min must be above 0"),
        ({"dropout": {"min": 0.0, "max": 0.5, "sampling": "cubic"}}, "random", "cubic"),
        ({"freeze_encoder": {"min": 0, "max": 1}}, "random", "bool"),
        ({"class_weights": {"values": ["none", 1]}}, "random", "str"),
        ({"dropout": {"min": 0.0, "max": 0.5}}, "grid", "a grid needs single values"),
        ({"epochs": {"values": [1, 2]}}, "hyperband", "Hyperband sets the epochs"),
        ({"epochs": {"values": [1, 9]}}, "random", "raise tuner.epochs to 9"),
    ],
)
def test_invalid_search_space_is_rejected_in_one_line(
    space: dict[str, Any], algorithm: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make_hyperparameters(TunerSettings(algorithm=algorithm, search_space=space))
    assert "\n" not in str(caught.value)


def test_every_kind_of_hyper_parameter_can_be_tuned() -> None:
    space = {
        "learning_rate": {"min": 1e-5, "max": 1e-3, "sampling": "log"},
        "batch_size": {"min": 8, "max": 32, "step": 8},
        "epochs": {"values": [1, 2]},
        "warmup_fraction": {"values": [0, 0.1]},
        "weight_decay": {"min": 0, "max": 0.1, "step": 0.05},
        "dropout": {"values": [0.1]},
        "freeze_encoder": {"values": [True, False]},
        "class_weights": {"values": ["none", "balanced"]},
    }
    values = make_hyperparameters(TunerSettings(search_space=space)).values
    hparams = HParams(**values)
    assert {name: type(value) for name, value in values.items()} == {
        name: type(value) for name, value in HParams().to_dict().items()
    }
    assert hparams.batch_size == 8


@pytest.mark.slow
def test_tuner_fn_reads_the_transform_output(tiny_bert: str, tmp_path: Path) -> None:
    transformed.write(tmp_path / "in", tiny_bert, tf.io.FixedLenFeature([], tf.string))
    settings = TunerSettings(algorithm="grid", search_space=SPACE, epochs=1, max_trials=2)
    arguments = transformed.fn_args(tmp_path / "in", tmp_path, tiny_bert, tuner=settings)
    result = tuning.tuner_fn(arguments)
    result.tuner.search(**result.fit_kwargs)
    best = result.tuner.get_best_hyperparameters()[0].get_config()
    assert set(best["values"]) == set(SPACE)


def test_data_is_checked_before_any_trial(
    tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dataclasses.replace(make_run(tiny_bert), evaluation=tokenized(0))
    monkeypatch.setattr(tuning.training, "make_run", lambda *_: run)
    monkeypatch.setattr(tuning.tft, "TFTransformOutput", lambda _: None)
    arguments = transformed.fn_args(
        tmp_path, tmp_path, tiny_bert, tuner=TunerSettings(search_space=SPACE)
    )
    with pytest.raises(DataError, match=r"^the eval split is empty"):
        tuning.tuner_fn(arguments)
