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
from modules.contract.errors import UserError
from runners.node import deferred_imports
from runners.node.node_runner import NodeRunner, describe_error, end_process

logger = logging.getLogger(__name__)

#: Nodes that do little but wait for a process of their own. Beside them the others go on.
WAITING_NODES = frozenset({"InfraValidator"})


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


if __name__ == "__main__":
    end_process(main())
