"""One process of a search: ``python trial_process.py ORDER``, where ORDER is a JSON object.

``encoder``: folder of the tiny BERT; ``directory``: folder of the search; ``result``: JSON file to
which the process writes the values that it tried and, if it reports, all trials and the best one;
``dies``: whether it kills itself in its first trial.
"""

import json
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Search like the Tuner, without TFX."""
    order = json.loads(sys.argv[1])
    sys.path.append(str(Path(__file__).parents[1]))  # Python only adds this file's folder
    from repository_path import use_repository

    use_repository()
    from modules import tuning
    from modules.contract.hparams import TunerSettings
    from modules.fit import training_loop
    from modules.search import parallel_trials
    from modules.search.search_space import make_hyperparameters
    from tests.modules.test_tuning import SPACE
    from tests.modules.tiny_runs import make_run

    tried: list[dict[str, float]] = []
    train = training_loop.train

    def counted(run: training_loop.TrainingRun) -> training_loop.TrainedModel:
        if order["dies"]:
            os.kill(os.getpid(), signal.SIGKILL)
        hparams = run.hparams
        tried.append({"batch_size": hparams.batch_size, "learning_rate": hparams.learning_rate})
        return train(run)

    training_loop.train = counted
    settings = TunerSettings(algorithm="grid", objective="val_loss", search_space=SPACE, epochs=4)
    tuner = tuning.make_tuner(
        make_run(order["encoder"], epochs=1),
        settings,
        make_hyperparameters(settings),
        order["directory"],
        parallel_trials.group(),
    )
    tuner.search()
    result: dict = {"tried": tried}
    if tuner.reports:
        trials = tuner.oracle.trials.values()
        result["trials"] = [[trial.status, trial.hyperparameters.values] for trial in trials]
        result["best"] = tuner.get_best_hyperparameters()[0].values
    Path(order["result"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
