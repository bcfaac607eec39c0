"""One process of a training run: ``python worker_process.py ORDER``, where ORDER is a JSON object.

``encoder``: folder of the tiny BERT; ``checkpoints``: folder; ``result``: JSON file to which the
chief writes the loss curve; ``dies_in_epoch``: epoch in which the process kills itself, or null;
``texts``: number of training texts, if not the default. With ``transformed``, a folder written by
``tests.modules.transformed``, the process runs the Trainer's entry point instead, into ``output``.
"""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

#: Settings of the workers and of the process that trains alone.
CHANGES = {"epochs": 4, "dropout": 0.0, "checkpoint_every_steps": 3, "batch_size": 7}
#: After the third batch a checkpoint exists; the sixth batch needs both workers.
DIES_AFTER_BATCH = 3


def main() -> None:
    """Execute the order, without TFX."""
    order = json.loads(sys.argv[1])
    sys.path.append(str(Path(__file__).parents[1]))  # Python only adds this file's folder
    from repository_path import use_repository

    use_repository()

    if "transformed" in order:
        run_trainer(order)
    else:
        record_training(order)


def run_trainer(order: dict) -> None:
    """Run the Trainer's entry point."""
    from modules import training
    from tests.modules import transformed

    folders = Path(order["transformed"]), Path(order["output"])
    training.run_fn(transformed.fn_args(*folders, order["encoder"]))


def record_training(order: dict) -> None:
    """Train, and record the loss curve."""
    from modules.fit import callbacks, multi_worker, training_loop

    workers = multi_worker.join()
    from tests.modules.tiny_runs import make_run, tokenized

    curve: list[dict[str, float]] = []
    end_epoch = callbacks.EarlyStopping.on_epoch_end
    end_batch = callbacks.Checkpoint.on_train_batch_end

    def die(self, batch, logs=None):
        if (self._epoch, batch) == (order["dies_in_epoch"], DIES_AFTER_BATCH):
            os.kill(os.getpid(), signal.SIGKILL)
        end_batch(self, batch, logs)

    def record(self, epoch, logs=None):
        curve.append({"epoch": epoch, **{name: float(value) for name, value in logs.items()}})
        end_epoch(self, epoch, logs)

    callbacks.EarlyStopping.on_epoch_end = record
    callbacks.Checkpoint.on_train_batch_end = die
    changes = {"checkpoint_directory": order["checkpoints"], **CHANGES}
    if "texts" in order:
        changes["train"] = tokenized(order["texts"])
    run = make_run(order["encoder"], **changes)
    outcome = training_loop.train(dataclasses.replace(run, workers=workers))
    if workers is None or workers.is_chief:
        weights = [float(abs(w).sum()) for w in outcome.model.get_weights()]
        Path(order["result"]).write_text(json.dumps({"curve": curve, "weights": weights}))
    if workers:
        workers.wait_for_all()


if __name__ == "__main__":
    main()
