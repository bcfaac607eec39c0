"""The Tuner's entry point: TFX's arguments in, a keras-tuner search out.

Each trial is a run of the Trainer's own loop, so that what is tuned is what will be trained.
"""

import contextlib
import dataclasses
import gc
import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

import keras
import keras_tuner
import tensorflow_transform as tft
from tfx.components.tuner.component import TunerFnResult

from modules import training, training_loop
from modules.checkpoints import fingerprint
from modules.errors import ModelError
from modules.hparams import HParams, TextSettings, TrainingSettings, TunerSettings
from modules.search_space import make_hyperparameters

_ALGORITHMS = {
    "random": keras_tuner.RandomSearch,
    "grid": keras_tuner.GridSearch,
    "hyperband": keras_tuner.Hyperband,
    "bayesian": keras_tuner.BayesianOptimization,
}
#: Hyperband's name for the epochs that it grants a trial.
_GRANTED_EPOCHS = "tuner/epochs"


def tuner_fn(fn_args: Any) -> TunerFnResult:
    """Make the search, as the TFX Tuner calls it.

    Args:
        fn_args: ``tfx.components.FnArgs``. ``custom_config`` holds "text", "hparams", "training"
            and "tuner" as JSON.

    Raises:
        UserError: the search space or the data cannot be used.
    """
    config = fn_args.custom_config
    text_settings = TextSettings.from_json(config["text"])
    hparams = HParams.from_json(config["hparams"])
    settings = TunerSettings.from_json(config["tuner"])
    hyperparameters = make_hyperparameters(settings)
    run = training.make_run(
        fn_args,
        tft.TFTransformOutput(fn_args.transform_output),
        text_settings,
        hparams,
        _trial_settings(TrainingSettings.from_json(config["training"]), settings),
    )
    training_loop.check_data(run.train, run.evaluation, run.labels)
    tuner = make_tuner(run, settings, hyperparameters, _search_directory(fn_args, run, config))
    return TunerFnResult(tuner=tuner, fit_kwargs={})


def make_tuner(
    run: training_loop.Run,
    settings: TunerSettings,
    hyperparameters: keras_tuner.HyperParameters,
    directory: str,
) -> keras_tuner.Tuner:
    """A search whose trials train ``run`` with other hparams.

    Args:
        run: data, encoder and the hparams that the search space leaves alone.
        settings: algorithm and budget.
        hyperparameters: the search space.
        directory: keeps the results of finished trials; a search that was killed goes on from
            them.
    """
    direction = "max" if settings.objective == "val_accuracy" else "min"
    arguments: dict[str, Any] = {
        "objective": keras_tuner.Objective(settings.objective, direction),
        "hyperparameters": hyperparameters,
        "directory": directory,
        "project_name": "search",
        "overwrite": True,
    }
    if settings.algorithm == "hyperband":
        arguments |= {"max_epochs": settings.epochs, "seed": run.settings.seed}
    else:
        arguments |= {"max_trials": settings.max_trials, "seed": run.settings.seed}
    finished = FinishedTrials(os.path.join(directory, "finished_trials.jsonl"))
    return _search_class(settings)(run, settings, finished, **arguments)


def _search_class(settings: TunerSettings) -> Any:
    """keras-tuner's class for the algorithm, with our own trials."""
    base = _ALGORITHMS[settings.algorithm]

    class Search(base):  # type: ignore[misc,valid-type]
        """A search that fails when no trial finishes."""

        def __init__(
            self,
            run: training_loop.Run,
            settings: TunerSettings,
            finished: FinishedTrials,
            **arguments: Any,
        ) -> None:
            self._run = run
            self._settings = settings
            self._finished = finished
            self._started = 0
            super().__init__(**arguments)

        def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
            """Run all trials.

            Raises:
                ModelError: no trial finished.
            """
            try:
                super().search(*fit_args, **fit_kwargs)
            except RuntimeError as error:  # keras-tuner gives up after three failures in a row
                raise ModelError(_failure(self.oracle)) from error
            if all(trial.status != "COMPLETED" for trial in self.oracle.trials.values()):
                raise ModelError(_failure(self.oracle))
            shutil.rmtree(self.project_dir, ignore_errors=True)
            self._finished.forget()

        def run_trial(self, trial: Any, *fit_args: Any, **fit_kwargs: Any) -> dict[str, float]:
            """Train one candidate; gives the eval metrics of the weights that it kept."""
            self._started += 1
            values = trial.hyperparameters.values
            metrics = self._finished.get(values)
            if metrics is None:
                keras.backend.clear_session()
                gc.collect()
                metrics = run_trial(self._run, self._settings, values, self._started)
                self._finished.add(values, metrics)
            return metrics

    return Search


class FinishedTrials:
    """Results of trials on disk, so that a killed search does not repeat them.

    keras-tuner's own state cannot take a grid search up again. A search proposes the same trials
    for the same seed and results, so results are all that has to be kept.

    Args:
        path: a file of JSON lines; made at the first result.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._metrics: dict[str, dict[str, float]] = {}
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
            for line in file:
                result = json.loads(line)
                self._metrics[_key(result["values"])] = result["metrics"]

    def get(self, values: Mapping[str, Any]) -> dict[str, float] | None:
        """Metrics of the trial with these values, or None if it has not finished yet."""
        return self._metrics.get(_key(values))

    def add(self, values: Mapping[str, Any], metrics: dict[str, float]) -> None:
        """Keep a result."""
        self._metrics[_key(values)] = metrics
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        lines = (
            json.dumps({"values": json.loads(key), "metrics": kept}) + "\n"
            for key, kept in self._metrics.items()
        )
        aside = self._path + ".part"
        with open(aside, "w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, self._path)

    def forget(self) -> None:
        """Delete the results: the search is done."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._path)
        with contextlib.suppress(OSError):  # the directory may hold something else
            os.rmdir(os.path.dirname(self._path))


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), sort_keys=True)


def run_trial(
    run: training_loop.Run, settings: TunerSettings, values: dict[str, Any], number: int
) -> dict[str, float]:
    """Train with ``values`` of the search space in place of the run's own.

    Returns:
        Eval metrics, ``val_loss`` and ``val_accuracy``, of the weights that were kept.
    """
    hparams = training.with_tuned(run.hparams, {"values": values})
    epochs = values.get(_GRANTED_EPOCHS, values.get("epochs", settings.epochs))
    trial = dataclasses.replace(
        run,
        hparams=dataclasses.replace(hparams, epochs=epochs),
        monitor=settings.objective,
        progress={"component": "Tuner", "trial": number},
    )
    return training_loop.train(trial).metrics


def _trial_settings(training_settings: TrainingSettings, tuner: TunerSettings) -> TrainingSettings:
    return dataclasses.replace(
        training_settings,
        early_stopping_patience=tuner.early_stopping_patience,
        checkpoint_directory="",
        tensorboard=False,
    )


def _search_directory(fn_args: Any, run: training_loop.Run, config: dict[str, str]) -> str:
    """Where the search keeps its state: a place that survives a kill, if there is one."""
    checkpoints = TrainingSettings.from_json(config["training"]).checkpoint_directory
    if not checkpoints:
        return str(fn_args.working_dir)
    name = fingerprint(
        training.run_fingerprint(run, TextSettings.from_json(config["text"])), config["tuner"]
    )
    return os.path.join(checkpoints, f"tuner-{name[:32]}")


def _failure(oracle: Any) -> str:
    messages = [trial.message for trial in oracle.trials.values() if trial.message]
    lines = messages[-1].strip().splitlines() if messages else ["no trial was started"]
    return (
        f"none of the Tuner's {len(oracle.trials)} trials finished; at least one must; "
        f"the last one failed with: {lines[-1]}"
    )
