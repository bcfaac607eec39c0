"""Execution of one node through TFX's launcher, locally or as an Airflow task."""

import atexit
import os
import sys
from typing import Any, NoReturn

from modules.contract.errors import DataError, UserError
from runners.node import deferred_imports

#: Execution states of ML Metadata -> the words that are displayed.
_STATES = {"COMPLETE": "ran", "CACHED": "cached", "FAILED": "failed"}


class NodeFailedError(Exception):
    """A node failed before its executor ran; the reason is in the metadata and the log."""


class NodeRunner:
    """A runner of single nodes of a compiled pipeline, which uses TFX's launcher."""

    def __init__(self, config: Any, pipeline: Any) -> None:
        """Connect to the metadata.

        Args:
            config: the resolved configuration.
            pipeline: the compiled ``Pipeline`` proto.
        """
        from tfx.orchestration import metadata
        from tfx.orchestration.local import runner_utils

        from pipeline.metadata_store import connection_config

        self._pipeline = pipeline
        self._deployment = runner_utils.extract_local_deployment_config(pipeline)
        self._metadata = metadata.Metadata(connection_config(config.metadata_url()))
        self._operators = deferred_imports.deferred_executor_operators()

    def run(self, node: Any) -> str:
        """Run one node.

        Returns:
            "ran", "cached" or "skipped" (a required input does not exist).

        Raises:
            NodeFailedError: the node's inputs could not be resolved.
            Exception: the node's driver or executor raised it.
        """
        from tfx.orchestration.local import runner_utils
        from tfx.orchestration.portable import launcher, partial_run_utils

        if node.execution_options.run.perform_snapshot:
            with self._metadata as handle:
                partial_run_utils.snapshot(handle, self._pipeline)
        name = node.node_info.id
        info = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=self._metadata,
            pipeline_info=self._pipeline.pipeline_info,
            pipeline_runtime_spec=self._pipeline.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(self._deployment, name),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(self._deployment, name),
            custom_executor_operators=self._operators,
        ).launch()
        return self._state(name, info)

    def _state(self, name: str, info: Any) -> str:
        if info is None or not info.execution_id:
            return "skipped"
        from ml_metadata.proto import metadata_store_pb2

        with self._metadata as handle:
            [execution] = handle.store.get_executions_by_id([info.execution_id])
        state = metadata_store_pb2.Execution.State.Name(execution.last_known_state)
        if state == "FAILED":
            raise NodeFailedError(f"{name}: the inputs could not be resolved; see the log")
        return _STATES.get(state, state.lower())


def describe_error(error: BaseException) -> dict[str, Any]:
    """Return an error as one line, and whether the user can fix it.

    The chain of causes is searched, because Beam and TFX wrap what our code raised.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            kind = "data" if isinstance(cause, DataError) else "user"
            return {"error": str(cause), "user_error": True, "kind": kind}
        cause = cause.__cause__ or cause.__context__
    lines = str(error).strip().splitlines() or [""]
    return {"error": f"{type(error).__name__}: {lines[0]}", "user_error": False}


def end_process(status: int) -> NoReturn:
    """Exit without interpreter teardown, but run registered exit functions.

    Freeing the objects of TensorFlow, Beam and TFMA one by one takes 2 to 3 s; the kernel frees
    them immediately.

    Args:
        status: the exit code.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
