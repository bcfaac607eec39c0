"""Trainer: fine-tunes the encoder with a classification head and exports the SavedModel."""

import dataclasses

from tfx import types
from tfx.components.trainer.component import Trainer
from tfx.proto import trainer_pb2

from components.code_digest import code_digest
from modules.contract import features
from modules.contract.hparams import HParams, TextSettings, TrainingSettings

MODULE = "modules.training"


def make_trainer(
    *,
    examples: types.BaseChannel,
    transform_graph: types.BaseChannel,
    schema: types.BaseChannel,
    hyperparameters: types.BaseChannel | None,
    text: TextSettings,
    hparams: HParams,
    training: TrainingSettings,
) -> Trainer:
    """Create the Trainer node.

    Args:
        examples: transformed ``Examples`` with the splits train and eval.
        transform_graph: ``TransformGraph`` of the transformation.
        schema: ``Schema`` of the raw examples.
        hyperparameters: the Tuner's best ``HyperParameters``, which override ``hparams``, or None.
        text: encoder, length and truncation.
        hparams: hyper-parameters.
        training: the other training settings.
    """
    settings = dataclasses.replace(training, code_digest=code_digest(MODULE))
    return Trainer(
        run_fn=f"{MODULE}.run_fn",
        examples=examples,
        transform_graph=transform_graph,
        schema=schema,
        hyperparameters=hyperparameters,
        train_args=trainer_pb2.TrainArgs(splits=[features.TRAIN_SPLIT]),
        eval_args=trainer_pb2.EvalArgs(splits=[features.EVAL_SPLIT]),
        custom_config={
            "text": text.to_json(),
            "hparams": hparams.to_json(),
            "training": settings.to_json(),
        },
    )
