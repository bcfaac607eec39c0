"""Compilation to PipelineSpec 2.1, which Kubeflow Pipelines and Vertex AI both run.

TFX's KubeflowV2DagRunner compiles the pipeline to a dictionary. The functions here add to it what
the runner cannot express; the platforms' modules choose among them.
"""

import contextlib
import functools
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Config

JSON = dict[str, Any]

#: Command of every container; "python" is the interpreter of the image's environment.
COMMAND = ["python", "-m", "runners.remote.container_entrypoint"]
EXAMPLE_GEN_DRIVER = "components.ingestion.driver.Driver"
EXAMPLE_GEN = "ExampleGen"
RESOLVER = "Resolver"
TRAINER = "Trainer"
TUNER = "Tuner"
PUSHER = "Pusher"
TRAINING_NODES = frozenset({TUNER, TRAINER})


def compile_job(config: Config) -> JSON:
    """Compile to a PipelineJob: ``pipelineSpec``, ``runtimeConfig``, ``displayName``, ``labels``.

    Args:
        config: the resolved configuration, checked by the platform's module.

    Returns:
        The PipelineJob.
    """
    with _quiet():
        job, pipeline = _compile(config)
    set_parameter_defaults(job["pipelineSpec"], pipeline.components)
    for node in tasks(job["pipelineSpec"]):  # TFX's compiler leaves some nodes out
        container(job["pipelineSpec"], node)["resources"] = resources(config, node)
    # Never cached, because the deployed model changes between runs.
    tasks(job["pipelineSpec"])[RESOLVER].pop("cachingOptions", None)
    change_parameters(job["pipelineSpec"], into_image(config.image.directory))
    return job


def _compile(config: Config) -> tuple[JSON, Any]:
    """Compile with TFX; return the job and the pipeline."""
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner, pipeline_builder

    from components.deployed_model import make_deployed_model_resolver
    from pipeline.pipeline import create_pipeline

    resolver = functools.partial(
        make_deployed_model_resolver, base_directory=config.push_directory()
    )
    pipeline = create_pipeline(config, make_resolver=resolver)
    images = {**config.image.nodes, pipeline_builder.DEFAULT_IMAGE_PATH_KEY: config.image.name}
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=images, default_commands=COMMAND, use_pipeline_spec_2_1=True
        )
    )
    return runner.run(pipeline, write_out=False), pipeline


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what TensorFlow and TFX log while they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def tasks(spec: JSON) -> dict[str, JSON]:
    """Return the tasks by name."""
    return spec["root"]["dag"]["tasks"]


def container(spec: JSON, node: str) -> JSON:
    """Return the container of a node."""
    label = spec["components"][node]["executorLabel"]
    return spec["deploymentSpec"]["executors"][label]["container"]


def inputs_spec(spec: JSON, node: str) -> str:
    """Return the specification of a node's inputs as the JSON that its container receives."""
    arguments = container(spec, node)["args"]
    return arguments[arguments.index("--json_serialized_inputs_spec_args") + 1]


def set_parameter_defaults(spec: JSON, nodes: Iterable[Any]) -> None:
    """Add the defaults of RuntimeParameters to the spec, which TFX's compiler drops.

    Args:
        spec: the PipelineSpec, changed in place.
        nodes: the components of the pipeline.
    """
    from tfx.orchestration.data_types import RuntimeParameter

    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for node in nodes:
        for value in node.exec_properties.values():
            if isinstance(value, RuntimeParameter) and value.default is not None:
                declared[value.name] |= {"defaultValue": value.default, "isOptional": True}


def resources(config: Config, node: str) -> JSON:
    """Return the ResourceSpec of a node."""
    section = config.resources
    training = node in TRAINING_NODES
    values = {
        "cpu": section.training_cpu if training else section.cpu,
        "memory_gb": section.training_memory_gb if training else section.memory_gb,
        "accelerator": section.accelerator if training else "",
        "accelerator_count": section.accelerator_count,
    }
    if node in section.nodes:
        values |= section.nodes[node].model_dump(exclude_none=True)
    found: JSON = {"cpuLimit": values["cpu"], "memoryLimit": values["memory_gb"]}
    if values["accelerator"] and values["accelerator_count"]:
        found["accelerator"] = {
            "type": values["accelerator"],
            "count": str(values["accelerator_count"]),
        }
    return found


def change_parameters(spec: JSON, change: Callable[[str], str]) -> None:
    """Apply ``change`` to every constant string in the tasks' parameters, in place."""
    for task in tasks(spec).values():
        for parameter in task.get("inputs", {}).get("parameters", {}).values():
            value = parameter.get("runtimeValue", {})
            if isinstance(value.get("constant"), str):
                value["constant"] = change(value["constant"])


def replace_prefixes(prefixes: Mapping[str, str]) -> Callable[[str], str]:
    """Return a function that replaces prefixes of paths and URIs, also inside JSON."""
    patterns = [
        (re.compile(rf"(?<![\w/.:-]){re.escape(old)}"), new.replace("\\", r"\\"))
        for old, new in prefixes.items()
    ]

    def change(text: str) -> str:
        for pattern, new in patterns:
            text = pattern.sub(new, text)
        return text

    return change


def into_image(directory: str) -> Callable[[str], str]:
    """Return a function that maps paths in the current directory to the repository in the image."""
    here = str(Path.cwd())
    return replace_prefixes({} if here == "/" else {f"{here}/": f"{directory.rstrip('/')}/"})


def to_json(job: JSON) -> str:
    """Return a compiled job as text; equal jobs give equal text."""
    return json.dumps(job, indent=2, sort_keys=True) + "\n"
