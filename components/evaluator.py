"""Evaluator: judges the candidate on the test split against floors and the baseline.

Each model answers the test examples once, through its ``serving_examples`` signature. The answers
feed one TensorFlow Model Analysis run (metrics, slices), a paired bootstrap (interval of the
difference) and a decision, which is written as JSON and as sentences.
"""

import os
from typing import TYPE_CHECKING, Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from components.artifacts import Artifacts
from components.blessing import OUTCOME, mark_blessing
from components.evaluation.settings import EvaluatorSettings
from components.evaluation.slices import listed
from components.publishing.manifest import ABSENT
from modules.contract import features
from modules.contract.errors import DataError, UserError

if TYPE_CHECKING:
    from components.evaluation.decision import Decision


class EvaluatorExecutor(base_beam_executor.BaseBeamExecutor):
    """Executor that predicts, measures, compares and decides."""

    def Do(  # noqa: N802 - TFX's name
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Judge the candidate and write evaluation and blessing.

        Args:
            input_dict: ``examples``, ``model``, and optionally ``baseline_model`` and ``schema``.
            output_dict: ``evaluation`` and ``blessing``.
            exec_properties: ``settings``, JSON of ``EvaluatorSettings``.

        Raises:
            DataError: the test split is missing or empty.
            ModelError: an export lacks its labels or the ``serving_examples`` signature.
            UserError: a slice column is not in the data, or the baseline's files do not exist.
        """
        settings = EvaluatorSettings.from_json(exec_properties["settings"])
        _check_columns(settings, input_dict.get("schema") or [])
        candidate = artifact_utils.get_single_instance(input_dict["model"])
        baselines = [
            model
            for model in input_dict.get("baseline_model") or []
            if model.get_int_custom_property(ABSENT) != 1
        ]
        baseline = artifact_utils.get_single_instance(baselines) if baselines else None
        evaluation = artifact_utils.get_single_instance(output_dict["evaluation"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])

        decision = self._judge(
            settings, input_dict["examples"], candidate, baseline, evaluation.uri
        )
        evaluation.set_string_custom_property(OUTCOME, decision.summary())
        mark_blessing(
            blessing,
            candidate,
            blessed=decision.blessed,
            outcome=decision.summary(),
            baseline=baseline,
        )

    def _judge(
        self,
        settings: EvaluatorSettings,
        examples: list[types.Artifact],
        candidate: types.Artifact,
        baseline: types.Artifact | None,
        directory: str,
    ) -> "Decision":
        # Imported lazily: a cached node should not pay for importing TFMA.
        from components.evaluation import analysis, report
        from components.evaluation.comparison import Comparable
        from components.evaluation.predictions import predict, read_test_split

        test = read_test_split(_test_uri(examples), settings.slice_columns)
        export = path_utils.serving_model_path(candidate.uri)
        predictions = {analysis.CANDIDATE: predict(export, test)}
        if baseline is not None:
            predictions[analysis.BASELINE] = predict(_baseline_export(baseline), test)
        comparable = Comparable(settings, test, predictions)
        with self._make_beam_pipeline() as pipeline:
            analysis.analyse(pipeline, comparable.answers, comparable.columns, directory)
        models = list(predictions)
        table = analysis.read_metrics(directory, models, comparable.labels)
        decision = comparable.decide(table)

        report.write_metrics(directory, table, comparable.labels, comparable.answers)
        report.write_predictions(
            directory, test.text_digests(), test.labels, comparable.labels, comparable.answers
        )
        report.write_decision(
            directory,
            decision,
            {
                "candidate_model": _identity(candidate),
                "baseline_model": _identity(baseline) if baseline else None,
                "test_digest": test.digest(),
            },
        )
        return decision


class EvaluatorSpec(ComponentSpec):
    """Evaluator's inputs, outputs and parameters."""

    PARAMETERS = {
        "settings": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": ChannelParameter(type=standard_artifacts.Model, optional=True),
        "schema": ChannelParameter(type=standard_artifacts.Schema, optional=True),
    }
    OUTPUTS = {
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Evaluator(base_beam_component.BaseBeamComponent):
    """The Evaluator node; create it with ``make_evaluator``."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EvaluatorExecutor)


def make_evaluator(
    *,
    examples: types.BaseChannel,
    model: types.BaseChannel,
    baseline_model: types.BaseChannel | None,
    schema: types.BaseChannel | None = None,
    code_digest: str,
    **settings: Any,
) -> Evaluator:
    """Create the Evaluator node.

    Args:
        examples: raw ``Examples`` with a test split.
        model: the candidate ``Model``.
        baseline_model: the last pushed ``Model``; may resolve to nothing, as on the first run.
        schema: ``Schema`` of the raw examples, used to check the slice columns.
        code_digest: digest of this module's code, part of TFX's cache key.
        **settings: arguments of ``EvaluatorSettings.create``.

    Returns:
        The node, with the outputs ``evaluation`` and ``blessing``.

    Raises:
        UserError: a value is illegal.
    """
    spec = EvaluatorSpec(
        examples=examples,
        model=model,
        baseline_model=baseline_model,
        schema=schema,
        settings=EvaluatorSettings.create(**settings).to_json(),
        code_digest=code_digest,
        evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
        blessing=types.Channel(type=standard_artifacts.ModelBlessing),
    )
    return Evaluator(spec).with_id("Evaluator")


def _test_uri(examples: list[types.Artifact]) -> str:
    artifact = artifact_utils.get_single_instance(examples)
    splits = artifact_utils.decode_split_names(artifact.split_names)
    if features.TEST_SPLIT not in splits:
        raise DataError(
            f"the Evaluator needs a split named {features.TEST_SPLIT!r}; the examples have "
            f"{splits}; add the split with `--set data.split.test=1`"
        )
    return artifact_utils.get_split_uri([artifact], features.TEST_SPLIT)


def _check_columns(settings: EvaluatorSettings, schemas: list[types.Artifact]) -> None:
    if not schemas or not settings.slice_columns:
        return
    known = _schema_columns(artifact_utils.get_single_instance(schemas))
    for column in settings.slice_columns:
        if column not in known:
            raise UserError(
                f"data.slice_columns must name columns of the data, which has {listed(known)}; "
                f"got {column!r}; edit data.slice_columns"
            )


def _schema_columns(artifact: types.Artifact) -> list[str]:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    with fileio.open(os.path.join(artifact.uri, "schema.pbtxt"), "r") as file:
        schema = text_format.Parse(file.read(), schema_pb2.Schema())
    return sorted(feature.name for feature in schema.feature)


def _baseline_export(baseline: types.Artifact) -> str:
    export = path_utils.serving_model_path(baseline.uri)
    if not fileio.exists(os.path.join(export, "saved_model.pb")):
        raise UserError(
            f"the export of the baseline, the last pushed model, does not exist: {export}; restore "
            "the folder from the model server's copy, or start a new history with "
            "`--set pipeline.name=NEW`"
        )
    return export


def _identity(model: types.Artifact) -> dict[str, Any]:
    return {"id": model.id, "uri": model.uri}
