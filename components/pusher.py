"""Pusher: copies a blessed model to a new version folder in the directory that model servers watch.

TFX's own Pusher copies directly into the version folder, where a server may see a partial model,
and pushes the same model again as a new version whenever it runs.
"""

import dataclasses
import json
import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from components.artifacts import Artifacts
from components.blessing import OUTCOME, why_not_blessed
from components.object_store_mounts import is_object_store
from components.publishing import local, remote
from components.publishing.manifest import (
    PUSHED,
    PUSHED_DESTINATION,
    PUSHED_VERSION,
    PushResult,
)
from modules.contract.errors import UserError

REPORT = "push.json"


class PusherExecutor(base_executor.BaseExecutor):
    """Executor that checks the blessings and pushes the model."""

    def Do(  # noqa: N802 - TFX's name
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Push the model if it has all required blessings, and record what was done and why.

        Args:
            input_dict: ``model``, ``model_blessing`` and optionally ``infra_blessing``.
            output_dict: ``pushed_model``.
            exec_properties: ``base_directory``, ``keep_versions``, ``needs_infra_blessing``.

        Raises:
            UserError: the base directory cannot be created, or its ledger cannot be read.
        """
        model = artifact_utils.get_single_instance(input_dict["model"])
        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        needed = {"model_blessing": "the Evaluator"}
        if exec_properties["needs_infra_blessing"]:
            needed["infra_blessing"] = "the InfraValidator"
        refusals = [
            reason
            for key, judge in needed.items()
            if (reason := why_not_blessed(input_dict.get(key) or [], model, judge))
        ]
        if refusals:
            outcome = PushResult(pushed=False, reason="; ".join(refusals))
        else:
            base = exec_properties["base_directory"]
            destination = remote if is_object_store(base) else local
            export = path_utils.serving_model_path(model.uri)
            keep = int(exec_properties["keep_versions"])
            outcome = destination.push(export, model.uri, base, keep)
        _report(pushed_model, outcome)


class PusherSpec(ComponentSpec):
    """Pusher's inputs, outputs and parameters."""

    PARAMETERS = {
        "base_directory": ExecutionParameter(type=str),
        "keep_versions": ExecutionParameter(type=int),
        "needs_infra_blessing": ExecutionParameter(type=int),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing, optional=True),
    }
    OUTPUTS = {"pushed_model": ChannelParameter(type=standard_artifacts.PushedModel)}


class Pusher(base_component.BaseComponent):
    """The Pusher node; create it with ``make_pusher``."""

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(PusherExecutor)


def make_pusher(
    *,
    model: types.BaseChannel,
    model_blessing: types.BaseChannel,
    infra_blessing: types.BaseChannel | None,
    base_directory: str,
    keep_versions: int = 0,
    code_digest: str,
) -> Pusher:
    """Create the Pusher node.

    Args:
        model: the candidate ``Model``.
        model_blessing: the Evaluator's ``ModelBlessing``.
        infra_blessing: the InfraValidator's ``InfraBlessing``; None: it is not required.
        base_directory: folder or URI that model servers watch.
        keep_versions: number of newest versions to keep; 0 keeps all.
        code_digest: digest of this module's code, part of TFX's cache key.

    Returns:
        The node, with the output ``pushed_model``.

    Raises:
        UserError: ``keep_versions`` is negative.
    """
    if keep_versions < 0:
        raise UserError(
            f"pusher.keep_versions must be 0 (all) or more; got {keep_versions}; try "
            "`--set pusher.keep_versions=0`"
        )
    spec = PusherSpec(
        model=model,
        model_blessing=model_blessing,
        infra_blessing=infra_blessing,
        base_directory=str(base_directory),
        keep_versions=keep_versions,
        needs_infra_blessing=int(infra_blessing is not None),
        code_digest=code_digest,
        pushed_model=types.Channel(type=standard_artifacts.PushedModel),
    )
    return Pusher(spec).with_id("Pusher")


def _report(pushed_model: types.Artifact, outcome: PushResult) -> None:
    """Mark the PushedModel as TFX's own Pusher does, and record the reason."""
    with fileio.open(os.path.join(pushed_model.uri, REPORT), "w") as file:
        file.write(json.dumps(dataclasses.asdict(outcome), indent=2, ensure_ascii=False) + "\n")
    pushed_model.set_int_custom_property(PUSHED, int(outcome.pushed))
    pushed_model.set_string_custom_property(OUTCOME, outcome.reason)
    if outcome.pushed:
        pushed_model.set_string_custom_property(PUSHED_DESTINATION, outcome.destination)
        pushed_model.set_string_custom_property(PUSHED_VERSION, str(outcome.version))
