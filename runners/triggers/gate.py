"""Gate of an Airflow DAG: lets a DAG run continue if ``bert watch --once`` would start a run.

Called by the first and the last task of a DAG that was compiled with ``airflow.gated``:

- ``python -m runners.triggers.gate open ORDER`` polls once. ORDER holds ``dag_run``, the run's id,
  and ``states``, Airflow's states of the DAG's last runs by id. Exit codes: 0 continue, 99 no run
  is due, 1 the poll failed, 2 an error that the user can fix. A DAG run that the gate let through
  before, and that is retried or cleared, continues without another decision.
- ``python -m runners.triggers.gate close ORDER`` records how the run ended. ORDER holds
  ``dag_run`` and ``failed``, the names of the tasks that failed. The exit codes are the same; 0
  also if no poll started the run.

Both orders also hold ``assignments`` and ``parameters``, see ``runners.airflow.task_order``.
Secrets come from the environment; the last line of output says what is wrong.
"""

import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from modules.contract.errors import UserError
from runners.airflow import task_order
from runners.triggers import launch
from runners.triggers.config_source import ConfigSource
from runners.triggers.dag_runs import AIRFLOW, DagRunLauncher
from runners.triggers.history import FAILED, SUCCEEDED
from runners.triggers.store import TriggerStore
from runners.triggers.watcher import Watcher
from serving.records.database import Database

_MODULE = "runners.triggers.gate"


def open_gate(arguments: Sequence[str]) -> int:
    """Poll once, unless a poll started the DAG run before; export feedback if it continues.

    Args:
        arguments: the order, as the only element.

    Returns:
        See ``Poll.exit_code``; 0 also for a run that continues.

    Raises:
        UserError: a bad order or config, or another run is running.
        SQLAlchemyError: the database is unavailable; no decision was made.
    """
    order = task_order.read(arguments, "dag_run", "states", module=_MODULE)
    dag_run, states = str(order["dag_run"]), dict(order["states"])
    source = ConfigSource(None, task_order.assignments(order))
    watcher = Watcher(
        source,
        make_launcher=lambda config, source: DagRunLauncher(config, source, dag_run, states),
    )
    with closing(watcher):
        run = watcher.resume(dag_run, time.time())
        if run:
            print(f"run {run.id} continues: an earlier poll started it", flush=True)
            code = 0
        else:
            poll = watcher.poll(time.time())
            for line in (*(event.line() for event in poll.news()), *poll.sentences()):
                print(line, flush=True)
            code = poll.exit_code
    if code == 0:
        _export_feedback(source)
    return code


def _export_feedback(source: ConfigSource) -> None:
    """Write a new span, as before every triggered run; the run continues if that fails."""
    export, _ = launch.bert_steps(source, AIRFLOW, Path())
    sys.stdout.flush()
    code = subprocess.run(export.command, stdin=subprocess.DEVNULL, check=False).returncode
    if code:
        print(
            f"{export.name} ended with exit code {code}; the run continues without a new span",
            flush=True,
        )


def close_gate(arguments: Sequence[str]) -> int:
    """Record how a DAG run ended, if a poll started it.

    Args:
        arguments: the order, as the only element.

    Returns:
        0.

    Raises:
        UserError: a bad order or config.
        SQLAlchemyError: the database is unavailable; the next poll records the end.
    """
    order = task_order.read(arguments, "dag_run", "failed", module=_MODULE)
    config = ConfigSource(None, task_order.assignments(order)).load()
    failed = [str(task) for task in order["failed"]]
    with closing(Database(config.database_url())) as database:
        store = TriggerStore(database, config.triggers)
        run = store.find_run(AIRFLOW, str(order["dag_run"]))
        if run is None:
            print("no trigger started this run; nothing to record", flush=True)
            return 0
        sentence = f"{' and '.join(failed)} failed" if failed else "no task failed"
        state = FAILED if failed else SUCCEEDED
        details = {"sentence": sentence}
        store.update_run(run.id, state=state, finished=time.time(), details=details)
    print(f"run {run.id} {state}: {sentence}", flush=True)
    return 0


_ACTIONS: Mapping[str, Callable[[Sequence[str]], int]] = {"open": open_gate, "close": close_gate}


def main(arguments: Sequence[str]) -> int:
    """Run the action that the arguments name; return the exit code."""
    try:
        action, *rest = arguments or [""]
        if action not in _ACTIONS:
            raise UserError(
                f"{_MODULE}: the action must be {' or '.join(_ACTIONS)}; received {action!r}; "
                "compile the DAG file again: bert compile --runner airflow"
            )
        return _ACTIONS[action](rest)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    except Exception as error:
        traceback.print_exc()
        print(f"error: {_one_line(error)}", file=sys.stderr, flush=True)
        return 1


def _one_line(error: Exception) -> str:
    cause: Any = getattr(error, "orig", None) or error
    return f"{type(error).__name__}: {' '.join(str(cause).split())}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
