"""Compilation for Vertex AI Pipelines."""

import re
from typing import TYPE_CHECKING

from modules.contract.errors import UserError
from pipeline.config import Config
from runners.remote import checks, pipeline_spec
from runners.remote.pipeline_spec import JSON
from runners.vertex import custom_job, endpoint

if TYPE_CHECKING:
    from runners.vertex.client import VertexConnection

#: Allowed suffixes of the compiled file.
SUFFIXES = (".json",)


def check(config: Config) -> None:
    """Refuse a config that cannot run on Vertex AI, without slow imports.

    Raises:
        UserError: a setting is wrong; names the key, the allowed values and the fix.
    """
    checks.check_images(config)
    checks.check_resources(config)
    checks.check_name(config)
    checks.check_uri(config, "pipeline.root", ("gs://",))
    checks.check_uri(config, "pusher.base_directory", ("gs://",))
    checks.check_data(config, ("gs://",), ())
    checks.check_spans(config, ("gs://",), ())
    checks.check_files(config, ())
    checks.check_infra_validator(config)
    accelerator = config.resources.accelerator
    if accelerator and not re.fullmatch(r"[A-Z][A-Z0-9_]+", accelerator):
        raise UserError(
            "resources.accelerator: must be an accelerator type such as NVIDIA_TESLA_T4 on vertex; "
            f"received {accelerator!r}"
        )
    custom_job.check(config)
    endpoint.check(config)


def connect(config: Config) -> "VertexConnection":
    """Return a connection with credentials.

    Raises:
        UserError: the project or the credentials are missing.
    """
    from runners.vertex.client import VertexConnection

    return VertexConnection(config)


def compile_pipeline(config: Config) -> str:
    """Return the PipelineJob as JSON, which the console and the clients accept.

    Raises:
        UserError: Vertex AI does not have a configured accelerator.
    """
    job = pipeline_spec.compile_job(config)
    spec = job["pipelineSpec"]
    job["labels"] = {**job.get("labels", {}), **config.vertex.labels}
    _run_driver_before_cache(spec)
    _read_through_mounts(spec)
    for node in custom_job.NODES:
        if custom_job.workers(config, node):
            _run_on_workers(spec, node, config)
    if config.vertex.endpoint:
        _deploy_after_push(spec, config)
    return pipeline_spec.to_json(job)


def _run_driver_before_cache(spec: JSON) -> None:
    """Run ExampleGen's driver before the cache look-up, so that the data decides, not its path."""
    hook = {
        "command": pipeline_spec.COMMAND,
        "args": [
            "--driver_class_path",
            pipeline_spec.EXAMPLE_GEN_DRIVER,
            "--json_serialized_invocation_args",
            "{{$}}",
            "--json_serialized_inputs_spec_args",
            pipeline_spec.inputs_spec(spec, pipeline_spec.EXAMPLE_GEN),
        ],
    }
    container = pipeline_spec.container(spec, pipeline_spec.EXAMPLE_GEN)
    container["lifecycle"] = {"preCacheCheck": hook}


def _read_through_mounts(spec: JSON) -> None:
    """Let nodes access buckets through the mount that Vertex adds to every container."""
    for node in pipeline_spec.tasks(spec):
        container = pipeline_spec.container(spec, node)
        for command in (container, container.get("lifecycle", {}).get("preCacheCheck")):
            if command:
                command["args"] = ["--mount_parameters", *command["args"]]


def _run_on_workers(spec: JSON, node: str, config: Config) -> None:
    """Let a node's container run its command in a custom job and wait for it."""
    container = pipeline_spec.container(spec, node)
    settings = custom_job.settings_of(config, node, container["image"])
    custom_job.custom_job(settings, [])  # checks the accelerator
    container["args"] = [custom_job.FLAG, settings.to_json(), *container["args"]]
    # This container only waits.
    container["resources"] = {
        "cpuLimit": config.resources.cpu,
        "memoryLimit": config.resources.memory_gb,
    }


def _deploy_after_push(spec: JSON, config: Config) -> None:
    """Let the Pusher's container deploy the pushed version to the endpoint."""
    container = pipeline_spec.container(spec, pipeline_spec.PUSHER)
    settings = endpoint.settings_of(config)
    container["args"] = [endpoint.FLAG, settings.to_json(), *container["args"]]
