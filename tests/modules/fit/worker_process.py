"""One process of a training run: ``python worker_process.py ORDER``, ORDER a JSON object.

``encoder``: the tiny BERT's folder; ``checkpoints``: folder; ``result``: where the chief writes the
loss curve as JSON; ``dies_in_epoch``: in this epoch the process kills itself, or null;
``texts``: training texts, where they shall be other ones. With ``transformed``, the folder that
``tests.modules.transformed`` wrote, it does instead all that the Trainer does, into ``output``.
"""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

#: What both the workers and the process that trains alone are given.
CHANGES = {"epochs": 4, "dropout": 0.0, "checkpoint_every_steps": 3, "batch_size": 7}
#: The checkpoint of the third batch is written then; the sixth batch needs both workers.
DIES_AFTER_BATCH = 3


def main() -> None:
    """Do what the order says, without TFX around it."""
    order = json.loads(sys.argv[1])
    sys.path.append(str(Path(__file__).parents[1]))  # where this file lies, Python looks by itself
    from repository_path import use_repository

    use_repository()

    if "transformed" in order:
        run_trainer(order)
    else:
        record_training(order)


def run_trainer(order: dict) -> None:
    """The Trainer's entry point."""
    from modules import training
    from tests.modules import transformed

    folders = Path(order["transformed"]), Path(order["output"])
    training.run_fn(transformed.fn_args(*folders, order["encoder"]))


def record_training(order: dict) -> None:
    """Training alone, with its loss curve."""
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
