"""Runs one node of a pipeline and ends: what a task of another orchestrator starts.

Started as ``python -m runners.airflow.node ORDER``, ORDER a JSON object: ``node``, ``run_id``,
``assignments`` (config values as ``--set`` takes them) and ``parameters`` (key -> value, stronger).
Secrets come from the environment. Exit codes: 0 done, 1 failed, 2 a person must put it right; the
last line of output says what is wrong.
"""

import logging
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from modules.contract.errors import UserError
from runners.airflow import task_order
from runners.node import deferred_imports
from runners.node.node_runner import NodeRunner, describe_error, end_process


def main(arguments: Sequence[str]) -> int:
    """Run the node that the order names; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        state = run_node(
            task_order.read(arguments, "node", "run_id", module="runners.airflow.node")
        )
    except Exception as error:
        described = describe_error(error)
        if not described["user_error"]:
            traceback.print_exc()
        print(described["error"], file=sys.stderr, flush=True)
        return 2 if described["user_error"] else 1
    print(state, flush=True)
    return 0


def run_node(order: dict[str, Any]) -> str:
    """Run one node through TFX's launcher.

    Args:
        order: of the form that the module's docstring gives.

    Returns:
        "ran", "cached" or "skipped".

    Raises:
        UserError: a bad value, or no such node in the pipeline.
        Exception: whatever the node raised.
    """
    deferred_imports.install()
    from pipeline.config import load
    from runners.node.compilation import compile_pipeline

    config = load(None, task_order.assignments(order))
    # An orchestrator's run ids hold colons and plus signs; ours name folders.
    run_id = re.sub(r"[^A-Za-z0-9_.-]", "-", order["run_id"])
    pipeline = compile_pipeline(config, run_id)
    for node in (node.pipeline_node for node in pipeline.nodes):
        if node.node_info.id == order["node"]:
            return NodeRunner(config, pipeline).run(node)
    raise UserError(
        f"the pipeline has no node {order['node']!r}; compile the DAG file again: "
        "bert compile --runner airflow"
    )


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
