"""The process that runs a pipeline for ``runners.local.run``, node by node.

Started as ``python -m runners.local.worker`` with one JSON object on standard input: ``config``,
``run_id``, ``from_node``, ``to_node``. Reports events through ``modules.contract.progress``:

- ``run_started`` (run_id, nodes), ``run_finished`` (state, seconds, error, user_error)
- ``node_started`` (node), ``node_finished`` (node, state, seconds, error)
- whatever a component emits meanwhile, such as ``step``

The nodes run through TFX's own launcher; only what surrounds it is ours.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from modules.contract import progress
from modules.contract.errors import DataError, UserError
from runners.local.process_end import end_process
from runners.node import deferred_imports

logger = logging.getLogger(__name__)

#: Nodes that do little but wait for a process of their own. Beside them the others go on.
WAITING_NODES = frozenset({"InfraValidator"})

#: Execution states of ML Metadata, in the words of the display.
_STATES = {"COMPLETE": "ran", "CACHED": "cached", "FAILED": "failed"}


class NodeFailedError(Exception):
    """A node failed before its executor ran; TFX recorded why in the metadata and the log."""


def main() -> int:
    """Read the order, run the pipeline, report. Returns the exit code."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_watcher, daemon=True).start()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    started = time.monotonic()
    outcome: dict[str, Any] = {"state": "succeeded"}
    try:
        run_pipeline(order)
    except Exception as error:
        traceback.print_exc()
        outcome = {"state": "failed", **describe_error(error)}
    progress.emit("run_finished", seconds=time.monotonic() - started, **outcome)
    return 0 if outcome["state"] == "succeeded" else 1


def _end_with_watcher() -> None:
    """End when the watcher's end of the pipe closes: a killed command must not run on unseen."""
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


def run_pipeline(order: dict[str, Any]) -> None:
    """Compile the pipeline and run its nodes in order.

    Args:
        order: the object that standard input held.
    """
    deferred_imports.install()
    from pipeline.config import Config
    from runners.node.compilation import compile_pipeline

    config = Config.model_validate(order["config"])
    pipeline = compile_pipeline(config, order["run_id"])
    if order["from_node"] or order["to_node"]:
        _mark_partial_run(pipeline, order["from_node"], order["to_node"])
    nodes = [node.pipeline_node for node in pipeline.nodes]
    progress.emit(
        "run_started", run_id=order["run_id"], nodes=[node.node_info.id for node in nodes]
    )
    if config.infra_validator.server == "process" and _runs("InfraValidator", nodes):
        progress.listen(_prepare_validation)
    run_nodes(nodes, lambda: NodeRunner(config, pipeline))


def _runs(name: str, nodes: Sequence[Any]) -> bool:
    return any(
        node.node_info.id == name and not node.execution_options.HasField("skip") for node in nodes
    )


def _prepare_validation(event: str) -> None:
    """Start the model server that the InfraValidator will need, beside the export of the model."""
    if event == progress.EXPORT_STARTED:
        from components.infra_validation import embedded_process

        embedded_process.prepare()


def run_nodes(nodes: Sequence[Any], make_runner: "Callable[[], NodeRunner]") -> None:
    """Run the nodes in order; those that wait for another process run beside the next ones.

    Args:
        nodes: ``PipelineNode`` protos, every node after those it depends on.
        make_runner: makes the runner of one thread: a metadata connection is not shared.

    Raises:
        Exception: what the first failing node raised, once nothing runs any more.
    """
    runner = make_runner()
    beside: dict[str, Future[None]] = {}
    with ThreadPoolExecutor(thread_name_prefix="beside") as pool:
        for node in nodes:
            for name in node.upstream_nodes:
                if name in beside:
                    beside[name].result()
            if node.node_info.id in WAITING_NODES:
                beside[node.node_info.id] = pool.submit(_run_node, make_runner(), node)
            else:
                _run_node(runner, node)
        for future in beside.values():
            future.result()


def _mark_partial_run(pipeline: Any, from_node: str | None, to_node: str | None) -> None:
    from tfx.orchestration.portable import partial_run_utils

    try:
        partial_run_utils.mark_pipeline(
            pipeline,
            from_nodes=[from_node] if from_node else None,
            to_nodes=[to_node] if to_node else None,
        )
    except ValueError as error:
        raise UserError(f"--from {from_node} --to {to_node}: {error}") from error


def _run_node(runner: "NodeRunner", node: Any) -> None:
    name = node.node_info.id
    if node.execution_options.HasField("skip"):
        progress.emit("node_finished", node=name, state="skipped", seconds=0.0)
        return
    started = time.monotonic()
    progress.emit("node_started", node=name)
    try:
        state = runner.run(node)
    except Exception as error:
        progress.emit(
            "node_finished",
            node=name,
            state="failed",
            seconds=time.monotonic() - started,
            **describe_error(error),
        )
        raise
    progress.emit("node_finished", node=name, state=state, seconds=time.monotonic() - started)


class NodeRunner:
    """Runs single nodes of a compiled pipeline through TFX's launcher."""

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
            "ran", "cached" or "skipped" (an input that it needs does not exist).

        Raises:
            NodeFailedError: the node's inputs could not be resolved.
            Exception: whatever its driver or executor raised.
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
            raise NodeFailedError(f"{name}: its inputs could not be resolved; the log says why")
        return _STATES.get(state, state.lower())


def describe_error(error: BaseException) -> dict[str, Any]:
    """One line for people, and whether they can put it right.

    Looks through the chain of causes: Beam and TFX wrap what our code raised.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return {"error": str(cause), "user_error": True, "kind": _kind(cause)}
        cause = cause.__cause__ or cause.__context__
    lines = str(error).strip().splitlines() or [""]
    return {"error": f"{type(error).__name__}: {lines[0]}", "user_error": False}


def _kind(error: UserError) -> str:
    return "data" if isinstance(error, DataError) else "user"


if __name__ == "__main__":
    end_process(main())
