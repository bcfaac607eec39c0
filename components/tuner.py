"""Tuner: searches hyper-parameters with keras-tuner on the eval split, never the test split."""

import dataclasses
from typing import Any

from tfx import types
from tfx.components.tuner import executor
from tfx.components.tuner.component import Tuner
from tfx.dsl.components.base import executor_spec
from tfx.proto import trainer_pb2

from components.artifacts import Artifacts
from components.code_digest import code_digest
from modules.contract import features
from modules.contract.hparams import HParams, TextSettings, TrainingSettings, TunerSettings

MODULE = "modules.tuning"


class ParallelTunerExecutor(executor.Executor):
    """TFX's executor for a search in several processes, of which one writes the results."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Run the search, and write the results in the process that has all of them.

        Args:
            input_dict: inputs of TFX's Tuner.
            output_dict: outputs of TFX's Tuner.
            exec_properties: properties of TFX's Tuner.

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
    """TFX's Tuner, whose process may be one of several that share a search."""

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
    """Create the Tuner node.

    Args:
        examples: transformed ``Examples`` with the splits train and eval.
        transform_graph: ``TransformGraph`` of the transformation.
        schema: ``Schema`` of the raw examples.
        text: encoder, length and truncation.
        hparams: values of the hyper-parameters that are not in the search space.
        training: the other training settings.
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
