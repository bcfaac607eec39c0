"""Apache Airflow 2 runs this file: one task for each node of the pipeline.

`bert compile --runner airflow` copies this file with ``PLAN`` filled in. It imports Airflow alone,
for Airflow reads it again every few seconds: TFX and TensorFlow would cost 15 s of CPU each time.
A task starts ``python -m runners.node`` in the project's own environment, whose packages and
Airflow's exclude each other; it runs the node as the local runner does.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.exceptions import AirflowException, AirflowFailException
from airflow.hooks.subprocess import SubprocessHook
from airflow.models import DAG, BaseOperator
from airflow.models.param import Param

PLAN: dict[str, Any] = {}

#: The node's exit code when a person must put something right: another try would fail too.
USER_ERROR = 2


class NodeOperator(BaseOperator):
    """Runs one node in a process of its own, whose output goes to the task's log."""

    ui_color = "#e8f0fe"

    def __init__(self, *, node: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.hook = SubprocessHook()

    def execute(self, context: Any) -> None:
        """Run the node.

        Raises:
            AirflowFailException: a person must act; Airflow does not try again.
            AirflowException: it failed otherwise.
        """
        order = {
            "node": self.node,
            "run_id": context["run_id"],
            "assignments": PLAN["assignments"],
            "parameters": parameters_of(context["params"]),
        }
        command = [PLAN["python"], "-m", "runners.node", json.dumps(order)]
        result = self.hook.run_command(command, cwd=PLAN["directory"])
        if result.exit_code:
            error = AirflowFailException if result.exit_code == USER_ERROR else AirflowException
            raise error(f"{self.node}: {result.output}")

    def on_kill(self) -> None:
        """End the process: the task timed out or was stopped."""
        self.hook.send_sigterm()


def parameters_of(values: Any) -> dict[str, Any]:
    """What a run's conf sets: the parameters that are not null."""
    known = {key: values.get(key) for key in PLAN["parameters"]}
    return {key: value for key, value in known.items() if value is not None}


def make_dag() -> DAG:
    """The DAG that the plan describes."""
    parameters = {
        key: Param(None, type=["null", "string", "number", "boolean", "array"], title=key)
        for key in PLAN["parameters"]
    }
    with DAG(
        dag_id=PLAN["dag_id"],
        description="BERT as a service on TFX",
        schedule=PLAN["schedule"],
        start_date=datetime.fromisoformat(PLAN["start_date"]).replace(tzinfo=UTC),
        catchup=PLAN["catchup"],
        # A pipeline root holds one run at a time.
        max_active_runs=1,
        max_active_tasks=PLAN["max_parallel_nodes"],
        dagrun_timeout=timedelta(seconds=PLAN["run_timeout_seconds"]),
        tags=PLAN["tags"],
        params=parameters,
        default_args={
            "retries": PLAN["retries"],
            "retry_delay": timedelta(seconds=PLAN["retry_delay_seconds"]),
            "execution_timeout": timedelta(seconds=PLAN["timeout_seconds"]),
            "pool": PLAN["pool"],
        },
    ) as dag:
        tasks = {node: NodeOperator(node=node, task_id=node) for node in PLAN["nodes"]}
        for node, upstream in PLAN["nodes"].items():
            tasks[node].set_upstream([tasks[name] for name in upstream])
    return dag


if PLAN:
    dag = make_dag()
