"""ExampleGen's driver: adds a fingerprint of the input's *content* to the cache key.

TFX's own driver fingerprints files by size and modification time, so copying or touching a file
runs the whole pipeline again, and an edit that changes neither goes unnoticed.

The driver runs before every cache lookup, so it avoids importing Beam and TensorFlow. TFX's
``components.example_gen.driver`` imports both, which would add 12 s to a cached run.
"""

import copy
import json
import os
from typing import Any

from tfx import types
from tfx.components.example_gen import utils
from tfx.dsl.components.base import base_driver
from tfx.orchestration import data_types, data_types_utils, metadata
from tfx.orchestration.portable import base_driver as ir_base_driver
from tfx.orchestration.portable import data_types as portable_data_types
from tfx.proto.orchestration import driver_output_pb2

from components.ingestion.input_data import FEEDBACK_SPANS, find_input
from components.ingestion.settings import EXAMPLES, INPUT_ERROR, IngestionSettings
from components.ingestion.sources import fingerprint
from modules.contract.errors import DataError


class Driver(base_driver.BaseDriver, ir_base_driver.BaseDriver):
    """Driver that resolves spans and adds the content fingerprint to the execution's properties.

    Properties are part of TFX's cache key, so they must not contain a time. There are two base
    classes, as in TFX's driver: compiled pipelines call ``run``, older launchers (notebook) call
    the other two methods.
    """

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        """Create the driver on an open metadata connection."""
        base_driver.BaseDriver.__init__(self, metadata_handle)
        ir_base_driver.BaseDriver.__init__(self, metadata_handle)

    def resolve_exec_properties(
        self,
        exec_properties: dict[str, Any],
        pipeline_info: data_types.PipelineInfo,
        component_info: data_types.ComponentInfo,
    ) -> dict[str, Any]:
        """Return the properties with paths resolved and ``input_fingerprint``, ``span`` set."""
        del pipeline_info, component_info
        return _resolve(exec_properties)

    def _prepare_output_artifacts(
        self,
        input_artifacts: dict[str, list[types.Artifact]],
        output_dict: dict[str, types.Channel],
        exec_properties: dict[str, Any],
        execution_id: int,
        pipeline_info: data_types.PipelineInfo,
        component_info: data_types.ComponentInfo,
    ) -> dict[str, list[types.Artifact]]:
        del input_artifacts
        examples = output_dict[EXAMPLES].type()
        folder = os.path.join(pipeline_info.pipeline_root, component_info.component_id)
        examples.uri = base_driver._generate_output_uri(folder, EXAMPLES, execution_id)
        _mark(examples.mlmd_artifact, exec_properties)
        base_driver._prepare_output_paths(examples)
        return {EXAMPLES: [examples]}

    def run(
        self, execution_info: portable_data_types.ExecutionInfo
    ) -> driver_output_pb2.DriverOutput:
        """Return the resolved properties and the artifact that carries them."""
        result = driver_output_pb2.DriverOutput()
        properties = _resolve(execution_info.exec_properties)
        for key, value in properties.items():
            if value is not None:
                data_types_utils.set_metadata_value(result.exec_properties[key], value)
        examples = copy.deepcopy(execution_info.output_dict[EXAMPLES][0].mlmd_artifact)
        _mark(examples, properties)
        result.output_artifacts[EXAMPLES].artifacts.append(examples)
        return result


def _resolve(exec_properties: dict[str, Any]) -> dict[str, Any]:
    settings = IngestionSettings.from_exec_properties(exec_properties)
    found: dict[str, Any] = {
        utils.SPAN_PROPERTY_NAME: 0,
        utils.VERSION_PROPERTY_NAME: None,
        utils.FINGERPRINT_PROPERTY_NAME: "",
    }
    try:
        data = find_input(settings)
        found |= {
            "paths": IngestionSettings.encoded_paths(data.paths),
            # The executor reads only these; a span exported meanwhile belongs to the next run.
            FEEDBACK_SPANS: json.dumps(data.feedback_spans),
            utils.SPAN_PROPERTY_NAME: data.span,
            utils.VERSION_PROPERTY_NAME: data.version,
            utils.FINGERPRINT_PROPERTY_NAME: fingerprint(data.sources),
        }
    except DataError as error:
        found[INPUT_ERROR] = str(error)
    return {**exec_properties, **found}


def _mark(examples: Any, exec_properties: dict[str, Any]) -> None:
    """Set the same custom properties on the artifact as TFX's own driver."""
    properties = examples.custom_properties
    if exec_properties.get(utils.FINGERPRINT_PROPERTY_NAME):
        value = exec_properties[utils.FINGERPRINT_PROPERTY_NAME]
        properties[utils.FINGERPRINT_PROPERTY_NAME].string_value = value
    properties[utils.SPAN_PROPERTY_NAME].int_value = exec_properties[utils.SPAN_PROPERTY_NAME]
    if exec_properties[utils.VERSION_PROPERTY_NAME] is not None:
        version = exec_properties[utils.VERSION_PROPERTY_NAME]
        properties[utils.VERSION_PROPERTY_NAME].int_value = version
