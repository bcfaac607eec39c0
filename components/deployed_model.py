"""Resolver for platforms whose metadata a pipeline cannot query: reads the push directory.

On Kubeflow and Vertex AI, a TFX resolver cannot run a custom strategy, so this component takes its
place under the same node id. It finds the newest version in the push directory whose manifest names
a model other than the candidate, and copies it to its own output, because those platforms refuse
artifacts in other locations. It must never be cached: the deployed model can change between runs.
"""

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import io_utils, path_utils

from components.artifacts import Artifacts
from components.code_digest import code_digest
from components.publishing.manifest import ABSENT, PUSHED_VERSION
from components.publishing.remote import newest_push, version_folder


class DeployedModelExecutor(base_executor.BaseExecutor):
    """Executor that copies the deployed model, or marks its output as absent."""

    def Do(  # noqa: N802 - TFX's name
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Find the baseline and copy it.

        Args:
            input_dict: ``candidate``, the new model, which is skipped: if everything else is
                cached, it *is* the last pushed model.
            output_dict: ``model``, the baseline.
            exec_properties: ``base_directory``, the folder or URI of the versions.
        """
        candidate = artifact_utils.get_single_instance(input_dict["candidate"])
        baseline = artifact_utils.get_single_instance(output_dict["model"])
        base = exec_properties["base_directory"]
        push = newest_push(base, other_than=candidate.uri)
        baseline.set_int_custom_property(ABSENT, int(push is None))
        if push is None:
            return
        export = path_utils.serving_model_path(baseline.uri)
        fileio.makedirs(export)
        io_utils.copy_dir(version_folder(base, push.version), export)
        baseline.set_string_custom_property(PUSHED_VERSION, str(push.version))


class DeployedModelSpec(ComponentSpec):
    """Inputs, outputs and parameters of the resolver."""

    PARAMETERS = {
        "base_directory": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {"candidate": ChannelParameter(type=standard_artifacts.Model)}
    OUTPUTS = {"model": ChannelParameter(type=standard_artifacts.Model)}


class DeployedModelResolver(base_component.BaseComponent):
    """The Resolver node for platforms whose metadata a pipeline cannot query."""

    SPEC_CLASS = DeployedModelSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(DeployedModelExecutor)


def make_deployed_model_resolver(
    *, model: types.BaseChannel, base_directory: str
) -> DeployedModelResolver:
    """Create the node, with the id ``Resolver`` and the output ``model``.

    Args:
        model: the candidate ``Model``.
        base_directory: folder or URI to which the Pusher pushes versions.
    """
    spec = DeployedModelSpec(
        candidate=model,
        base_directory=base_directory,
        code_digest=code_digest("components.deployed_model"),
        model=types.Channel(type=standard_artifacts.Model),
    )
    return DeployedModelResolver(spec).with_id("Resolver")
