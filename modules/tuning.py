"""Entry point of the Tuner: creates a keras-tuner search from TFX's arguments.

Each trial runs the Trainer's own training loop, so that tuning and training behave alike.
"""

import contextlib
import dataclasses
import logging
import os
import shutil
from typing import Any

import keras
import keras_tuner
import tensorflow_transform as tft
from tfx.components.tuner.component import TunerFnResult

from modules import training
from modules.contract import progress
from modules.contract.errors import ModelError
from modules.contract.hparams import HParams, TextSettings, TrainingSettings, TunerSettings
from modules.fit import training_loop
from modules.fit.checkpoints import fingerprint
from modules.search import parallel_trials
from modules.search.finished_trials import FinishedTrials
from modules.search.parallel_trials import TrialGroup
from modules.search.search_space import make_hyperparameters

_ALGORITHMS = {
    "random": keras_tuner.RandomSearch,
    "grid": keras_tuner.GridSearch,
    "hyperband": keras_tuner.Hyperband,
    "bayesian": keras_tuner.BayesianOptimization,
}
#: Hyperband's name for the number of epochs of a trial.
_GRANTED_EPOCHS = "tuner/epochs"
_LOG = logging.getLogger(__name__)


def tuner_fn(fn_args: Any) -> TunerFnResult:
    """Create the search; called by the TFX Tuner.

    Args:
        fn_args: ``tfx.components.FnArgs``. ``custom_config`` holds "text", "hparams", "training"
            and "tuner" as JSON.

    Raises:
        UserError: the search space, the data or ``TF_CONFIG`` cannot be used.
    """
    config = fn_args.custom_config
    text_settings = TextSettings.from_json(config["text"])
    hparams = HParams.from_json(config["hparams"])
    settings = TunerSettings.from_json(config["tuner"])
    hyperparameters = make_hyperparameters(settings)
    run = training.make_run(
        fn_args,
        tft.TFTransformOutput(fn_args.transform_graph_path),
        text_settings,
        hparams,
        _trial_settings(TrainingSettings.from_json(config["training"]), settings),
    )
    training_loop.check_data(run.train, run.evaluation, run.labels)
    directory = _search_directory(fn_args, run, config)
    tuner = make_tuner(run, settings, hyperparameters, directory, parallel_trials.group())
    return TunerFnResult(tuner=tuner, fit_kwargs={})


def make_tuner(
    run: training_loop.TrainingRun,
    settings: TunerSettings,
    hyperparameters: keras_tuner.HyperParameters,
    directory: str,
    group: TrialGroup | None = None,
) -> keras_tuner.Tuner:
    """Create a search whose trials train ``run`` with other hyper-parameters.

    Args:
        run: data, encoder and the hyper-parameters that are not in the search space.
        settings: algorithm and budget.
        hyperparameters: the search space.
        directory: folder of the results of finished trials, with which a killed search resumes.
            The processes of a group share it.
        group: the processes that search together; None if this process searches alone.
    """
    direction = "max" if settings.objective == "val_accuracy" else "min"
    arguments: dict[str, Any] = {
        "objective": keras_tuner.Objective(settings.objective, direction),
        "hyperparameters": hyperparameters,
        "directory": directory,
        "project_name": f"search-{group.index if group else 0}",
        "overwrite": True,
    }
    if settings.algorithm == "hyperband":
        arguments |= {"max_epochs": settings.epochs, "seed": run.settings.seed}
    else:
        arguments |= {"max_trials": settings.max_trials, "seed": run.settings.seed}
    finished = FinishedTrials(os.path.join(directory, "finished_trials"))
    return _search_class(settings)(run, settings, finished, group, **arguments)


def _search_class(settings: TunerSettings) -> Any:
    """Return a subclass of keras-tuner's class for the algorithm that runs our trials."""
    base = _ALGORITHMS[settings.algorithm]

    class Search(base):  # type: ignore[misc,valid-type]
        """A search that fails if no trial finishes."""

        def __init__(
            self,
            run: training_loop.TrainingRun,
            settings: TunerSettings,
            finished: FinishedTrials,
            group: TrialGroup | None,
            **arguments: Any,
        ) -> None:
            self._run = run
            self._settings = settings
            self._finished = finished
            self._group = group
            self._started = 0
            super().__init__(**arguments)

        @property
        def reports(self) -> bool:
            """Whether this process has all results and reports them."""
            return self._group is None or self._group.is_chief

        def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
            """Run all trials, or this process's share of them.

            Raises:
                ModelError: no trial finished, three consecutive trials failed, or another process
                    of the group failed.
            """
            try:
                with parallel_trials.shared_oracle(self, self._group):
                    super().search(*fit_args, **fit_kwargs)
            except RuntimeError as error:  # keras-tuner's limit of three consecutive failures
                raise ModelError(_failure(self.oracle)) from error
            if self.reports:
                if all(trial.status != "COMPLETED" for trial in self.oracle.trials.values()):
                    raise ModelError(_failure(self.oracle))
                # TFX reads max_trials results, and Hyperband does not set the number.
                self.oracle.max_trials = self.oracle.max_trials or len(self.oracle.trials)
                self._finished.forget()
            shutil.rmtree(self.project_dir, ignore_errors=True)
            with contextlib.suppress(OSError):  # the directory may contain other files
                os.rmdir(self.directory)

        def run_trial(self, trial: Any, *fit_args: Any, **fit_kwargs: Any) -> dict[str, float]:
            """Run one trial and return the eval metrics of the weights that it kept."""
            self._started += 1
            values = trial.hyperparameters.values
            metrics = self._finished.get(values)
            if metrics is None:
                keras.backend.clear_session()  # also collects garbage
                self._report_start()
                try:
                    metrics = run_trial(self._run, self._settings, values, self._started)
                except Exception:
                    _LOG.exception("a trial failed with %s", values)
                    raise
                self._finished.add(values, metrics)
            return metrics

        def _report_start(self) -> None:
            """Emit an event for the start of a trial, with the best score so far."""
            fields: dict[str, object] = {"trial": self._started}
            if self._settings.algorithm in ("random", "bayesian"):  # others may run fewer
                fields["trials"] = self._settings.max_trials
            best = self.oracle.get_best_trials(1)
            if best and best[0].score is not None:  # None if it has not finished
                fields |= {"objective": self._settings.objective, "best": best[0].score}
            progress.emit(progress.TRIAL_STARTED, component="Tuner", **fields)

    return Search


def run_trial(
    run: training_loop.TrainingRun, settings: TunerSettings, values: dict[str, Any], number: int
) -> dict[str, float]:
    """Train with values of the search space in place of the run's own.

    Args:
        run: data, encoder and the hyper-parameters that are not in the search space.
        settings: settings of the search.
        values: hyper-parameters of the trial.
        number: the trial's number, for progress events.

    Returns:
        Eval metrics, ``val_loss`` and ``val_accuracy``, of the weights that were kept.

    Raises:
        UserError: training diverges.
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


def _search_directory(fn_args: Any, run: training_loop.TrainingRun, config: dict[str, str]) -> str:
    """Return the folder of the search's state, one that survives a restart if there is one."""
    checkpoints = TrainingSettings.from_json(config["training"]).checkpoint_directory
    if not checkpoints:
        return str(fn_args.working_dir)
    name = fingerprint(
        training.run_fingerprint(run, TextSettings.from_json(config["text"])), config["tuner"]
    )
    return os.path.join(checkpoints, f"tuner-{name[:32]}")


def _failure(oracle: Any) -> str:
    messages = [trial.message for trial in oracle.trials.values() if trial.message]
    # keras-tuner does not send messages between processes.
    unknown = "see the log of its process" if oracle.trials else "no trial was started"
    lines = messages[-1].strip().splitlines() if messages else [unknown]
    if any(trial.status == "COMPLETED" for trial in oracle.trials.values()):
        what = f"{oracle.max_consecutive_failed_trials} consecutive trials of the Tuner failed"
    else:
        what = f"none of the Tuner's {len(oracle.trials)} trials finished"
    return f"{what}; the last one failed with: {lines[-1]}"
