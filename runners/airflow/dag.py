"""A DAG for Apache Airflow 2 with one task for each node of the pipeline.

`bert compile --runner airflow` copies this file with ``PLAN`` filled in. It imports only Airflow,
because Airflow reads it again every few seconds, and importing TFX and TensorFlow takes 15 s of
CPU. A task starts ``python -m runners.airflow.node`` in the project's own environment, whose
packages conflict with Airflow's; the node runs as with the local runner.

With ``airflow.gated``, a first task uses the config's triggers to decide whether a scheduled run
continues (``runners.triggers.gate``), and a last one records the result. They are setup and
teardown of the nodes: the last one always runs and does not affect the state of the DAG run.
"""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.hooks.subprocess import SubprocessHook, SubprocessResult
from airflow.models import DAG, BaseOperator, DagRun
from airflow.models.param import Param
from airflow.operators.python import PythonOperator, ShortCircuitOperator
from airflow.utils.session import create_session

PLAN: dict[str, Any] = {}

#: Exit code of a process that failed because of an error that the user must fix.
USER_ERROR = 2
#: Exit code of the gate if no run is to start.
NOTHING_DUE = 99
#: Tasks of a gated DAG in addition to the nodes.
IS_DUE, RECORD_END = "is_due", "record_end"
#: Parameter of a gated DAG's run: whether the triggers decide; null: only for scheduled runs.
GATED = "gated"
#: Number of the DAG's last runs that the gate receives, to find one that it has started.
TOLD_RUNS = 100


class NodeOperator(BaseOperator):
    """Operator that runs one node in a separate process and logs its output."""

    ui_color = "#e8f0fe"

    def __init__(self, *, node: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.hook = SubprocessHook()

    def execute(self, context: Any) -> None:
        """Run the node.

        Raises:
            AirflowFailException: the user must fix an error; Airflow does not retry.
            AirflowException: the node failed otherwise.
        """
        order = {
            "node": self.node,
            "run_id": context["run_id"],
            "assignments": PLAN["assignments"],
            "parameters": parameters_of(context["params"]),
        }
        command = [PLAN["python"], "-m", "runners.airflow.node", json.dumps(order)]
        check(self.node, self.hook.run_command(command, cwd=PLAN["directory"]))

    def on_kill(self) -> None:
        """End the process, because the task timed out or was stopped."""
        self.hook.send_sigterm()


def check(task: str, result: SubprocessResult) -> None:
    """Fail the task if its process has failed.

    Raises:
        AirflowFailException: the user must fix an error; Airflow does not retry.
        AirflowException: the process failed otherwise.
    """
    if result.exit_code:
        error = AirflowFailException if result.exit_code == USER_ERROR else AirflowException
        raise error(f"{task}: {result.output}")


def is_due(dag_run: DagRun, params: Any, **_: Any) -> bool:
    """Return whether the run continues: if it is gated, the triggers decide; else True.

    Raises:
        AirflowFailException: the user must fix an error; Airflow does not retry.
        AirflowException: the triggers could not be evaluated.
    """
    gated = params[GATED]
    if gated is None:
        gated = dag_run.run_type == "scheduled"
    if not gated:
        return True
    result = run_gate("open", dag_run, params, states=last_states())
    if result.exit_code == NOTHING_DUE:
        return False
    check(IS_DUE, result)
    return True


def record_end(dag_run: DagRun, params: Any, ti: Any, **_: Any) -> None:
    """Record the result of the run, if the triggers have started it.

    Raises:
        AirflowSkipException: no run was due, so there is no result.
        AirflowFailException: the user must fix an error; Airflow does not retry.
        AirflowException: the result could not be recorded; the next poll finds it.
    """
    if ti.xcom_pull(task_ids=IS_DUE) is False:
        raise AirflowSkipException("no run was due")
    states = {task.task_id: task.state for task in dag_run.get_task_instances()}
    undone = [node for node in PLAN["nodes"] if states.get(node) not in ("success", "skipped")]
    failed = [node for node in undone if states.get(node) == "failed"] or undone
    check(RECORD_END, run_gate("close", dag_run, params, failed=failed))


def run_gate(action: str, dag_run: DagRun, params: Any, **values: Any) -> SubprocessResult:
    """Run the gate in a process, which is ended if the task ends."""
    order = {
        "dag_run": dag_run.run_id,
        "assignments": PLAN["assignments"],
        "parameters": parameters_of(params),
        **values,
    }
    command = [PLAN["python"], "-m", "runners.triggers.gate", action, json.dumps(order)]
    hook = SubprocessHook()
    try:
        return hook.run_command(command, cwd=PLAN["directory"])
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            hook.send_sigterm()
        raise


def last_states() -> dict[str, str]:
    """Return the states of the DAG's last runs: run id -> Airflow's name of the state."""
    with create_session() as session:
        runs = session.query(DagRun).filter(DagRun.dag_id == PLAN["dag_id"])
        return {run.run_id: run.state for run in runs.order_by(DagRun.id.desc()).limit(TOLD_RUNS)}


def parameters_of(values: Any) -> dict[str, Any]:
    """Return the parameters that a run's conf sets: those that are not null."""
    known = {key: values.get(key) for key in PLAN["parameters"]}
    return {key: value for key, value in known.items() if value is not None}


def make_dag() -> DAG:
    """Return the DAG that ``PLAN`` describes."""
    parameters = {
        key: Param(None, type=["null", "string", "number", "boolean", "array"], title=key)
        for key in PLAN["parameters"]
    }
    if PLAN["gated"]:
        meaning = "Start only when the triggers would; null: scheduled runs alone"
        parameters[GATED] = Param(None, type=["null", "boolean"], description=meaning)
    with DAG(
        dag_id=PLAN["dag_id"],
        description="BERT as a service on TFX",
        schedule=PLAN["schedule"],
        start_date=datetime.fromisoformat(PLAN["start_date"]).replace(tzinfo=UTC),
        catchup=PLAN["catchup"],
        # Two runs must not write to one pipeline root.
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
        if PLAN["gated"]:
            add_gate(list(tasks.values()))
    return dag


def add_gate(nodes: list[NodeOperator]) -> None:
    """Add the first and the last task of a gated DAG."""
    first = ShortCircuitOperator(task_id=IS_DUE, python_callable=is_due).as_setup()
    last = PythonOperator(task_id=RECORD_END, python_callable=record_end)
    first.set_downstream([node for node in nodes if not node.upstream_task_ids])
    last.set_upstream([node for node in nodes if not node.downstream_task_ids])
    last.as_teardown(setups=first)


if PLAN:
    dag = make_dag()
