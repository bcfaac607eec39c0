"""The entrypoint of a task's container on Kubeflow and Vertex AI, which runs one node.

TFX's entrypoint, ``kubeflow_v2_run_executor``, runs the executor. This module adds what these
platforms need and TFX does not do:

- Object stores are accessed through the platform's mounts: ``gs://`` is ``/gcs/``, ``s3://`` is
  ``/s3/``, ``minio://`` is ``/minio/``. TensorFlow 2.21 has no built-in object stores, and
  Kubeflow's launcher copies inputs to those folders and outputs from them. The platform receives
  URIs again. Vertex mounts whole buckets, so parameters are mapped too (``--mount_parameters``).
- Kubeflow passes upstream artifacts without their type, which is taken from the inputs'
  specification.
- Kubeflow never calls ExampleGen's driver, so the executor's task runs it first
  (``--driver_class_path``). Vertex calls it as a hook, without ``--executor_class_path``, and its
  result is part of Vertex's cache key.
- Names of inputs are removed, because TFX hashes them to 63-bit ids, which do not survive JSON.
- On several Vertex machines, a custom job runs this command on each (``--vertex_custom_job``, see
  ``runners.vertex.custom_job``); only the chief reports outputs.
- On Vertex the pushed version is deployed to an endpoint (``--vertex_endpoint``, see
  ``runners.vertex.endpoint``).
- Folders of outputs are created, as TFX's launcher does on other platforms.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from components.object_store_mounts import to_path, to_uri
from modules.fit import worker_place

JSON = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the task.

    Args:
        arguments: the command-line arguments; None takes them from ``sys.argv``. Unknown ones are
            passed to Beam.

    Returns:
        The exit code.

    Raises:
        UserError: the user must fix an error.
        Exception: the driver or the executor raised it.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    options, beam_arguments = _parser().parse_known_args(words)
    if options.vertex_custom_job:
        from runners.vertex import custom_job

        custom_job.run_elsewhere(options.vertex_custom_job, words)
        return 0
    task = json.loads(options.json_serialized_invocation_args)
    specification = json.loads(options.json_serialized_inputs_spec_args or "{}")
    prepare(task, specification)
    if options.mount_parameters:
        parameters = task["inputs"].get("parameterValues", {})
        task["inputs"]["parameterValues"] = _map_strings(parameters, _paths_in)
    final = Path(task["outputs"]["outputFile"])
    if options.driver_class_path:
        result = run_driver(options.driver_class_path, task, specification)
        merge(result, task, specification)
    if options.executor_class_path:
        if final.exists():  # written by a driver
            merge(json.loads(final.read_text("utf-8")), task, specification)
        result = run_executor(options.executor_class_path, task, specification, beam_arguments)
    if options.vertex_endpoint:
        from runners.vertex import endpoint

        endpoint.deploy_pushed(options.vertex_endpoint, result)
    if (worker_place.place() or (0, 1))[0] == 0:  # or every worker would write it
        write_output(final, result)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--driver_class_path", default="")
    parser.add_argument("--executor_class_path", default="")
    parser.add_argument("--mount_parameters", action="store_true")
    parser.add_argument("--vertex_custom_job", default="")
    parser.add_argument("--vertex_endpoint", default="")
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", default="")
    return parser


def prepare(task: JSON, specification: JSON) -> None:
    """Change an ExecutorInput, in place, to one that TFX's entrypoint understands.

    Args:
        task: the ExecutorInput.
        specification: the component's ComponentInputsSpec.
    """
    inputs, outputs = task.setdefault("inputs", {}), task["outputs"]
    known = specification.get("artifacts", {})
    for key, held in inputs.get("artifacts", {}).items():
        for artifact in held.get("artifacts", []):
            artifact.pop("name", None)
            artifact["uri"] = to_path(artifact["uri"])
            if not artifact.get("type"):
                artifact["type"] = known[key]["artifactType"]
    for held in outputs.get("artifacts", {}).values():
        for artifact in held.get("artifacts", []):
            artifact["uri"] = to_path(artifact["uri"])
            os.makedirs(artifact["uri"], exist_ok=True)
    outputs["outputFile"] = to_path(outputs["outputFile"])


def run_driver(class_path: str, task: JSON, specification: JSON) -> JSON:
    """Run a node's driver.

    Args:
        class_path: dotted path of a TFX driver whose ``run`` needs no metadata.
        task: the prepared ExecutorInput.
        specification: the component's ComponentInputsSpec.

    Returns:
        The ExecutorOutput: changed or added parameters, and output artifacts.
    """
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.orchestration import data_types_utils
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as parsing
    from tfx.orchestration.portable import data_types
    from tfx.utils import import_utils

    executor_input = json_format.ParseDict(
        task, pipeline_spec_pb2.ExecutorInput(), ignore_unknown_fields=True
    )
    inputs_spec = json_format.ParseDict(
        specification, pipeline_spec_pb2.ComponentInputsSpec(), ignore_unknown_fields=True
    )
    given = parsing.parse_execution_properties(
        executor_input.inputs.parameter_values, executor_input.inputs.parameters, inputs_spec
    )
    outputs = parsing.parse_raw_artifact_dict(executor_input.outputs.artifacts, {})
    driver = import_utils.import_class_by_path(class_path)(None)
    found = driver.run(data_types.ExecutionInfo(exec_properties=given, output_dict=outputs))
    properties = data_types_utils.build_value_dict(found.exec_properties)
    held = {}
    for key, [artifact] in outputs.items():
        artifact.set_mlmd_artifact(found.output_artifacts[key].artifacts[0])
        held[key] = json_format.MessageToDict(parsing.to_runtime_artifact(artifact, {}))
    changed = {key: value for key, value in properties.items() if given.get(key) != value}
    return {
        "parameterValues": changed,
        "artifacts": {key: {"artifacts": [artifact]} for key, artifact in held.items()},
    }


def merge(result: JSON, task: JSON, specification: JSON) -> None:
    """Add the result of a driver to the task, in place.

    Args:
        result: the driver's ExecutorOutput.
        task: the prepared ExecutorInput.
        specification: the component's ComponentInputsSpec. Integers missing from it are added,
            because TFX would read them as floats.
    """
    declared = specification.setdefault("parameters", {})
    for key, value in result.get("parameterValues", {}).items():
        task["inputs"].setdefault("parameterValues", {})[key] = value
        if isinstance(value, int) and key not in declared:
            declared[key] = {"parameterType": "NUMBER_INTEGER"}
    for key, held in result.get("artifacts", {}).items():
        [into] = task["outputs"]["artifacts"][key]["artifacts"]
        [artifact] = held["artifacts"]
        into["metadata"] = {**into.get("metadata", {}), **artifact.get("metadata", {})}


def run_executor(
    class_path: str, task: JSON, specification: JSON, beam_arguments: Sequence[str]
) -> JSON:
    """Run a node's executor through TFX's entrypoint.

    Args:
        class_path: dotted path of the executor.
        task: the prepared ExecutorInput.
        specification: the component's ComponentInputsSpec.
        beam_arguments: Beam's pipeline options.

    Returns:
        The ExecutorOutput, with URIs instead of paths in mounts.
    """
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    # TFX keeps temporary files next to the output file, so it must be on a local disk.
    with tempfile.TemporaryDirectory(prefix="task-") as folder:
        local = Path(folder) / "executor_output.json"
        local_task = {**task, "outputs": {**task["outputs"], "outputFile": str(local)}}
        options = argparse.Namespace(
            executor_class_path=class_path,
            json_serialized_invocation_args=json.dumps(local_task),
            json_serialized_inputs_spec_args=json.dumps(specification),
        )
        kubeflow_v2_run_executor.main((options, list(beam_arguments)))
        return _map_strings(json.loads(local.read_text("utf-8")), to_uri)


def write_output(file: Path, result: JSON) -> None:
    """Write the ExecutorOutput to the file that the platform reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_map_strings(result, to_uri), sort_keys=True)
    file.write_text(text, "utf-8")


def _paths_in(text: str) -> str:
    """Return a parameter with mounts instead of ``gs://``; it may be a URI or JSON with URIs."""
    return re.sub(r"(?<![\w/.:-])gs://", lambda match: to_path(match[0]), text)


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_strings(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _map_strings(item, change) for key, item in value.items()}
    return value


if __name__ == "__main__":
    from modules.contract.errors import UserError

    try:
        sys.exit(main())
    except UserError as error:
        sys.exit("error: " + re.sub(r"\s+", " ", str(error)))
