"""Compilation for open-source Kubeflow Pipelines 2.

The functions below change what Kubeflow's backend handles differently from Vertex AI's.
"""

import copy
import functools
from typing import TYPE_CHECKING, Any

from modules.contract.errors import UserError
from pipeline.config import Config
from runners.remote import checks, pipeline_spec
from runners.remote.pipeline_spec import JSON

if TYPE_CHECKING:
    from runners.kubeflow.client import KubeflowConnection

#: Allowed suffixes of the compiled file; kfp.Client accepts no others.
SUFFIXES = (".yaml",)
ROOTS = ("s3://", "minio://", "gs://")


def check(config: Config) -> None:
    """Refuse a config that cannot run on Kubeflow, without slow imports.

    Raises:
        UserError: a setting is wrong; names the key, the allowed values and the fix.
    """
    checks.check_images(config)
    checks.check_resources(config)
    checks.check_name(config)
    checks.check_uri(config, "pipeline.root", ROOTS)
    mounts = tuple(config.kubeflow.volumes.values())
    checks.check_data(config, ("gs://",), mounts)
    checks.check_spans(config, ("gs://",), mounts)
    checks.check_files(config, mounts)
    checks.check_infra_validator(config)
    base = config.pusher.base_directory
    if not checks.is_within(base, mounts):
        first = mounts[0] if mounts else "/models"
        raise UserError(
            "pusher.base_directory: must be a folder on a volume in kubeflow.volumes, which model "
            f"servers also mount; received {base!r}; try --set "
            f"'kubeflow.volumes={{CLAIM = \"{first}\"}}' --set pusher.base_directory={first}"
        )
    accelerator = config.resources.accelerator
    if accelerator and "/" not in accelerator:
        raise UserError(
            "resources.accelerator: must be a Kubernetes resource such as nvidia.com/gpu on "
            f"kubeflow; received {accelerator!r}"
        )


def connect(config: Config) -> "KubeflowConnection":
    """Return a connection whose host and credentials have been checked.

    Raises:
        UserError: the host is missing or does not answer, or the credentials are rejected.
    """
    from runners.kubeflow.client import KubeflowConnection

    return KubeflowConnection(config)


def compile_pipeline(config: Config) -> str:
    """Return YAML: the PipelineSpec and, if there are Kubernetes settings, the PlatformSpec."""
    import yaml  # type: ignore[import-untyped]

    spec = pipeline_spec.compile_job(config)["pipelineSpec"]
    spec["defaultPipelineRoot"] = config.pipeline_root()
    _run_driver_in_container(spec)
    _keep_files_on_volume(spec, config)
    documents = [spec]
    if settings := platform_settings(config):
        components = spec["components"]
        executors = {
            components[node]["executorLabel"]: settings(node) for node in pipeline_spec.tasks(spec)
        }
        platform = {"deploymentSpec": {"executors": executors}}
        documents.append({"platforms": {"kubernetes": platform}})
    return yaml.safe_dump_all(documents, sort_keys=True)


def _run_driver_in_container(spec: JSON) -> None:
    """Let ExampleGen's task run its driver, because the backend has no driver hook.

    The task must not be cached: the cache key has the path of the data, not its content.
    """
    pipeline_spec.tasks(spec)[pipeline_spec.EXAMPLE_GEN].pop("cachingOptions", None)
    arguments = pipeline_spec.container(spec, pipeline_spec.EXAMPLE_GEN)["args"]
    arguments[:0] = ["--driver_class_path", pipeline_spec.EXAMPLE_GEN_DRIVER]


def _keep_files_on_volume(spec: JSON, config: Config) -> None:
    """Keep checkpoints and parsed files on a volume.

    Only the launcher can access the object store, and it copies only artifacts. Feedback spans
    cannot be stored there either: none are read until ``feedback.spans`` is on a volume.
    """
    base = config.push_directory()
    volume = next(
        path for path in config.kubeflow.volumes.values() if checks.is_within(base, (path,))
    )
    kept = ("checkpoints", "ExampleGen-cache")
    root, name = config.pipeline_root(), config.pipeline.name
    replaced = {f"{root}/{folder}": f"{volume.rstrip('/')}/{folder}/{name}" for folder in kept}
    if not config.feedback.spans:
        replaced[config.spans_directory()] = ""
    pipeline_spec.change_parameters(spec, pipeline_spec.replace_prefixes(replaced))


def platform_settings(config: Config) -> Any:
    """Return a function from a node to its KubernetesExecutorConfig, or None without settings."""
    section = config.kubeflow
    everywhere: JSON = {}
    if section.volumes:
        everywhere["pvcMount"] = [
            {"constant": claim, "mountPath": path} for claim, path in section.volumes.items()
        ]
    if section.secrets:
        everywhere["secretAsEnv"] = [
            {
                "secretName": secret.secret,
                "keyToEnv": [{"secretKey": secret.key, "envVar": secret.variable}],
            }
            for secret in section.secrets
        ]
    if section.tolerations:
        everywhere["tolerations"] = tolerations(config)
    if section.image_pull_secrets:
        everywhere["imagePullSecret"] = [
            {"secretName": name} for name in section.image_pull_secrets
        ]
    if not (everywhere or section.node_selector or section.training_node_selector):
        return None
    return functools.partial(_settings_of_node, config, everywhere)


def tolerations(config: Config) -> list[JSON]:
    """Return the tolerations of pods in Kubernetes' form, without empty fields."""
    return [
        {key: value for key, value in toleration.model_dump().items() if value}
        for toleration in config.kubeflow.tolerations
    ]


def _settings_of_node(config: Config, everywhere: JSON, node: str) -> JSON:
    labels = dict(config.kubeflow.node_selector)
    if node in pipeline_spec.TRAINING_NODES:
        labels |= config.kubeflow.training_node_selector
    selector = {"nodeSelector": {"labels": labels}} if labels else {}
    return copy.deepcopy({**everywhere, **selector})  # shared objects would become YAML references
