"""The process that a task of another orchestrator starts to run one node of a pipeline.

Usage: ``python -m runners.airflow.node ORDER``. ORDER is a JSON object with ``node``, ``run_id``,
``assignments`` (config values in the form of ``--set``) and ``parameters`` (key -> value, which
override the assignments). Secrets come from the environment. Exit codes: 0 success, 1 failure,
2 an error that the user must fix; the last line of output explains it.
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
    """Run the node that the order names and return the exit code."""
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
        order: the order, in the form described in the module's docstring.

    Returns:
        "ran", "cached" or "skipped".

    Raises:
        UserError: a config value is wrong, or the pipeline does not have the node.
        Exception: the node raised it.
    """
    deferred_imports.install()
    from pipeline.config import load
    from runners.node.compilation import compile_pipeline

    config = load(None, task_order.assignments(order))
    # Run ids of an orchestrator contain colons and plus signs; ours are names of folders.
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
