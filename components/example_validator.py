"""ExampleValidator: stops the run before training on anomalies of the configured severity.

TFX's own ExampleValidator only records anomalies, so the run goes on to train on bad data. This one
writes the same artifact and then fails with the column and the anomaly.
"""

import os
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.io import fileio
from tfx.proto.orchestration import execution_result_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts, standard_component_specs

from components.artifacts import Artifacts
from components.code_digest import code_digest
from modules.contract.errors import DataError

_BLOCKED: dict[str, frozenset[int]] = {
    "none": frozenset(),
    "warning": frozenset({anomalies_pb2.AnomalyInfo.WARNING, anomalies_pb2.AnomalyInfo.ERROR}),
    "error": frozenset({anomalies_pb2.AnomalyInfo.ERROR}),
}


def describe_anomalies(anomalies: anomalies_pb2.Anomalies, severity: str) -> list[str]:
    """Return one sentence for each anomaly at or above ``severity``.

    Args:
        anomalies: the anomalies of one split.
        severity: "error", "warning" or "none".

    Raises:
        KeyError: the severity is unknown.
    """
    blocked = _BLOCKED[severity]
    lines = [
        f"column {feature!r}: {info.short_description} ({info.description})"
        for feature, info in sorted(anomalies.anomaly_info.items())
        if info.severity in blocked
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        info = anomalies.dataset_anomaly_info
        if info.severity in blocked:
            lines.append(f"dataset: {info.short_description} ({info.description})")
    return lines


class BlockingExecutor(executor.Executor):
    """TFX's executor, which then fails on blocking anomalies."""

    def Do(  # noqa: N802 - TFX's name
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> execution_result_pb2.ExecutorOutput:
        """Validate the statistics, write the anomalies, and refuse the data if any of them blocks.

        Args:
            input_dict: ``statistics`` and ``schema``.
            output_dict: ``anomalies``.
            exec_properties: TFX's properties and ``blocking_severity``.

        Raises:
            DataError: there is an anomaly of the blocking severity.
        """
        result = super().Do(input_dict, output_dict, exec_properties)
        severity = exec_properties["blocking_severity"]
        artifact = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.ANOMALIES_KEY]
        )
        problems: list[str] = []
        for split in artifact_utils.decode_split_names(artifact.split_names):
            path = os.path.join(
                artifact_utils.get_split_uri([artifact], split), executor.DEFAULT_FILE_NAME
            )
            found = describe_anomalies(_read_anomalies(path), severity)
            problems.extend(f"{split} split, {line}" for line in found)
        if problems:
            raise DataError(
                f"{len(problems)} data anomalies stop the run: {'; '.join(problems)}. Fix the "
                "data, or accept it: edit the schema and run `bert schema accept`, or use "
                "`--set example_validator.blocking_severity=none`"
            )
        return result


def _read_anomalies(path: str) -> anomalies_pb2.Anomalies:
    with fileio.open(path, "rb") as file:
        return anomalies_pb2.Anomalies.FromString(file.read())


class BlockingExampleValidatorSpec(standard_component_specs.ExampleValidatorSpec):
    """TFX's spec with the parameters ``blocking_severity`` and ``code_digest``."""

    PARAMETERS = {
        **standard_component_specs.ExampleValidatorSpec.PARAMETERS,
        "blocking_severity": component_spec.ExecutionParameter(type=str),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }


class BlockingExampleValidator(base_component.BaseComponent):
    """The ExampleValidator node; create it with ``make_example_validator``."""

    SPEC_CLASS = BlockingExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(BlockingExecutor)


def make_example_validator(
    *, statistics: types.BaseChannel, schema: types.BaseChannel, blocking_severity: str
) -> BlockingExampleValidator:
    """Create the ExampleValidator node, with the output ``anomalies``.

    Args:
        statistics: ``ExampleStatistics`` of the raw examples.
        schema: the ``Schema`` that the statistics must conform to.
        blocking_severity: "error", "warning" (includes errors) or "none".
    """
    spec = BlockingExampleValidatorSpec(
        statistics=statistics,
        schema=schema,
        exclude_splits="[]",
        custom_validation_config=None,
        anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
        blocking_severity=blocking_severity,
        code_digest=code_digest(__name__),
    )
    return BlockingExampleValidator(spec).with_id("ExampleValidator")
