"""The process that runs a pipeline for ``runners.local.run``, node by node.

It is started as ``python -m runners.local.worker`` with one JSON object on standard input:
``config``, ``run_id``, ``from_node``, ``to_node``. It reports events through
``modules.contract.progress``:

- ``run_started`` (run_id, nodes), ``run_finished`` (state, seconds, error, user_error)
- ``node_started`` (node), ``node_finished`` (node, state, seconds, error)
- what a component emits while it runs, such as ``step``

The nodes run through TFX's own launcher.
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
from modules.contract.errors import UserError
from runners.node import deferred_imports
from runners.node.node_runner import NodeRunner, describe_error, end_process

logger = logging.getLogger(__name__)

#: Nodes that mostly wait for a process of their own. Other nodes run at the same time.
WAITING_NODES = frozenset({"InfraValidator"})


def main() -> int:
    """Read the order, run the pipeline and report; return the exit code."""
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
    """End with the process that watches: a killed command must not leave a run behind."""
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


def run_pipeline(order: dict[str, Any]) -> None:
    """Compile the pipeline and run its nodes in order.

    Args:
        order: the object from standard input.

    Raises:
        UserError: the nodes to run cannot be selected.
        Exception: the error of the first node that failed.
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
    """Start the model server for the InfraValidator while the model is being exported."""
    if event == progress.EXPORT_STARTED:
        from components.infra_validation import embedded_process

        embedded_process.prepare()


def run_nodes(nodes: Sequence[Any], make_runner: "Callable[[], NodeRunner]") -> None:
    """Run the nodes in order; ``WAITING_NODES`` run at the same time as the next ones.

    Args:
        nodes: ``PipelineNode`` protos, each after the nodes that it depends on.
        make_runner: makes a runner for one thread, because threads share no metadata connection.

    Raises:
        Exception: the error of the first node that failed, after all running nodes have ended.
    """
    runner = make_runner()
    waiting: dict[str, Future[None]] = {}
    with ThreadPoolExecutor(thread_name_prefix="waiting-node") as pool:
        for node in nodes:
            for name in node.upstream_nodes:
                if name in waiting:
                    waiting[name].result()
            if node.node_info.id in WAITING_NODES:
                waiting[node.node_info.id] = pool.submit(_run_node, make_runner(), node)
            else:
                _run_node(runner, node)
        for future in waiting.values():
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


if __name__ == "__main__":
    end_process(main())
