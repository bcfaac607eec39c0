"""Tuner: searches hyper-parameters with keras-tuner on the eval split, never on test."""

import dataclasses
from typing import Any

from tfx import types
from tfx.components.tuner import executor
from tfx.components.tuner.component import Tuner
from tfx.dsl.components.base import executor_spec
from tfx.proto import trainer_pb2

from components.code_digest import code_digest
from modules.contract import features
from modules.contract.hparams import HParams, TextSettings, TrainingSettings, TunerSettings

MODULE = "modules.tuning"


class ParallelTunerExecutor(executor.Executor):
    """TFX's executor where one of several processes of a search tells the results."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Search; the process that knows all results writes them.

        Raises:
            ModelError: no trial finished.
        """
        tuner = executor.search(
            input_dict, exec_properties, self._get_tmp_dir(), print_tuning_summary=False
        )
        if tuner.reports:
            tuner.results_summary()
            executor.write_best_hyperparameters(tuner, output_dict)


class ParallelTuner(Tuner):
    """TFX's Tuner, whose search may be one of several processes."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(ParallelTunerExecutor)


def make_tuner(
    *,
    examples: types.BaseChannel,
    transform_graph: types.BaseChannel,
    schema: types.BaseChannel,
    text: TextSettings,
    hparams: HParams,
    training: TrainingSettings,
    tuner: TunerSettings,
) -> ParallelTuner:
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
    node = ParallelTuner(
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
    return node.with_id("Tuner")
