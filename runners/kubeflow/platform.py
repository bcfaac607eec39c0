"""Kubeflow Pipelines 2, the open-source one: compile for it, submit to it.

Its backend differs from Vertex AI's; each change below says in what.
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

#: Endings of the compiled file; kfp.Client takes no other.
SUFFIXES = (".yaml",)
ROOTS = ("s3://", "minio://", "gs://")


def check(config: Config) -> None:
    """Refuse what cannot run there, before anything slow is done.

    Raises:
        UserError: names the key, what is legal and what to type.
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
            "pusher.base_directory: legal on kubeflow is a folder of a volume in kubeflow.volumes, "
            f"which model servers mount too; received {base!r}; try --set "
            f"'kubeflow.volumes={{CLAIM = \"{first}\"}}' --set pusher.base_directory={first}"
        )
    accelerator = config.resources.accelerator
    if accelerator and "/" not in accelerator:
        raise UserError(
            "resources.accelerator: legal on kubeflow is a Kubernetes resource such as "
            f"nvidia.com/gpu; received {accelerator!r}"
        )


def connect(config: Config) -> "KubeflowConnection":
    """Check host and credentials."""
    from runners.kubeflow.client import KubeflowConnection

    return KubeflowConnection(config)


def compile_pipeline(config: Config) -> str:
    """The YAML documents: PipelineSpec and, where Kubernetes settings are needed, PlatformSpec."""
    import yaml  # type: ignore[import-untyped]

    spec = pipeline_spec.compile_job(config)["pipelineSpec"]
    spec["defaultPipelineRoot"] = config.pipeline_root()
    _run_driver_in_container(spec)
    _keep_files_on_volume(spec, config)
    documents = [spec]
    if settings := platform_settings(config):
        executors = {task["executorLabel"]: settings(node) for node, task in _components(spec)}
        platform = {"deploymentSpec": {"executors": executors}}
        documents.append({"platforms": {"kubernetes": platform}})
    text: str = yaml.safe_dump_all(documents, sort_keys=True)
    return text


def _components(spec: JSON) -> list[tuple[str, JSON]]:
    return [(node, spec["components"][node]) for node in pipeline_spec.tasks(spec)]


def _run_driver_in_container(spec: JSON) -> None:
    """The backend has no driver hook: the task runs ExampleGen's driver itself, at each run.

    It must not be cached: the cache would know the path of the data, not what is in it.
    """
    pipeline_spec.tasks(spec)[pipeline_spec.EXAMPLE_GEN].pop("cachingOptions", None)
    arguments = pipeline_spec.container(spec, pipeline_spec.EXAMPLE_GEN)["args"]
    arguments[:0] = ["--driver_class_path", pipeline_spec.EXAMPLE_GEN_DRIVER]


def _keep_files_on_volume(spec: JSON, config: Config) -> None:
    """Only the launcher reaches the object store, and it copies artifacts alone.

    Feedback spans cannot lie there either: none are read until feedback.spans names a volume.
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
    """A function from a node to its KubernetesExecutorConfig; None where nothing is to be said."""
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
    """The tolerations of pods, as Kubernetes has them: without what is empty."""
    return [
        {key: value for key, value in toleration.model_dump().items() if value}
        for toleration in config.kubeflow.tolerations
    ]


def _settings_of_node(config: Config, everywhere: JSON, node: str) -> JSON:
    labels = dict(config.kubeflow.node_selector)
    if node in pipeline_spec.TRAINING_NODES:
        labels |= config.kubeflow.training_node_selector
    selector = {"nodeSelector": {"labels": labels}} if labels else {}
    return copy.deepcopy({**everywhere, **selector})  # shared parts would become YAML references
