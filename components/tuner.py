"""Tuner: searches hyper-parameters with keras-tuner on the eval split, never on test."""

import dataclasses

from tfx import types
from tfx.components.tuner.component import Tuner
from tfx.proto import trainer_pb2

from components.code_digest import code_digest
from modules import features
from modules.hparams import HParams, TextSettings, TrainingSettings, TunerSettings

MODULE = "modules.tuning"


def make_tuner(
    *,
    examples: types.BaseChannel,
    transform_graph: types.BaseChannel,
    schema: types.BaseChannel,
    text: TextSettings,
    hparams: HParams,
    training: TrainingSettings,
    tuner: TunerSettings,
) -> Tuner:
    """Make the Tuner node.

    Args:
        examples: transformed ``Examples``, splits train and eval.
        transform_graph: the ``TransformGraph`` that made them.
        schema: ``Schema`` of the raw examples.
        text: encoder, length and truncation.
        hparams: values of the hyper-parameters that the search space leaves alone.
        training: the rest of the run's settings.
        tuner: algorithm, budget and search space.
    """
    settings = dataclasses.replace(training, code_digest=code_digest(MODULE))
    return Tuner(
        tuner_fn=f"{MODULE}.tuner_fn",
        examples=examples,
        transform_graph=transform_graph,
        schema=schema,
        train_args=trainer_pb2.TrainArgs(splits=[features.TRAIN_SPLIT]),
        eval_args=trainer_pb2.EvalArgs(splits=[features.EVAL_SPLIT]),
        custom_config={
            "text": text.to_json(),
            "hparams": hparams.to_json(),
            "training": settings.to_json(),
            "tuner": tuner.to_json(),
        },
    )
