"""Decides whether a DAG run of Airflow goes on, as ``bert watch --once`` decides to start a run.

Started by the first and the last task of a DAG that was compiled with ``airflow.gated``:

- ``python -m runners.triggers.gate open ORDER`` polls once. ORDER holds ``dag_run``, its id, and
  ``states``, Airflow's word for each of the DAG's last runs. Exit codes: 0 go on, 99 nothing is
  due, 1 the poll failed, 2 a person must put it right. A DAG run that went on before, and is tried
  or cleared again, goes on without another decision.
- ``python -m runners.triggers.gate close ORDER`` writes down how the run ended. ORDER holds
  ``dag_run`` and ``failed``, the names of the tasks that failed. Exit codes likewise; it is 0, too,
  when no poll had started the run.

Both orders hold ``assignments`` and ``parameters`` as well, see ``runners.airflow.task_order``.
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
from runners.triggers.poll import Poll
from runners.triggers.store import TriggerStore
from runners.triggers.watcher import Watcher
from serving.records.database import Database

_MODULE = "runners.triggers.gate"


def open_gate(arguments: Sequence[str]) -> int:
    """Poll once, unless the DAG run went on before; export the feedback when it goes on.

    Args:
        arguments: the order.

    Returns:
        See ``Poll.exit_code``; 0, too, for a run that continues.

    Raises:
        UserError: a bad order or config, or another run is under way.
        SQLAlchemyError: the database is away; nothing was decided.
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
            print(f"run {run.id} goes on, for it was started before", flush=True)
            code = 0
        else:
            poll = watcher.poll(time.time())
            _print(poll)
            code = poll.exit_code
    if code == 0:
        _export_feedback(source)
    return code


def _print(poll: Poll) -> None:
    for line in (*(event.line() for event in poll.news()), *poll.sentences()):
        print(line, flush=True)


def _export_feedback(source: ConfigSource) -> None:
    """A new span first, as for every triggered run, which goes on without one."""
    export, _ = launch.bert_steps(source, AIRFLOW, Path())
    sys.stdout.flush()
    code = subprocess.run(export.command, stdin=subprocess.DEVNULL, check=False).returncode
    if code:
        print(f"{export.name} ended with {code}; the run goes on without a new span", flush=True)


def close_gate(arguments: Sequence[str]) -> int:
    """Write down how the run of a DAG run ended; one that no poll has started has none.

    Args:
        arguments: the order.

    Returns:
        0.

    Raises:
        UserError: a bad order or config.
        SQLAlchemyError: the database is away; the next poll finds the end.
    """
    order = task_order.read(arguments, "dag_run", "failed", module=_MODULE)
    config = ConfigSource(None, task_order.assignments(order)).load()
    failed = [str(task) for task in order["failed"]]
    with closing(Database(config.database_url())) as database:
        store = TriggerStore(database, config.triggers)
        run = store.find_run(AIRFLOW, str(order["dag_run"]))
        if run is None:
            print("no trigger has started this run", flush=True)
            return 0
        sentence = f"{' and '.join(failed)} failed" if failed else "all is done"
        state = FAILED if failed else SUCCEEDED
        details = {"sentence": sentence}
        store.update_run(run.id, state=state, finished=time.time(), details=details)
    print(f"run {run.id} {state}: {sentence}", flush=True)
    return 0


_ACTIONS: Mapping[str, Callable[[Sequence[str]], int]] = {"open": open_gate, "close": close_gate}


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; returns the exit code."""
    try:
        action, *rest = arguments or [""]
        if action not in _ACTIONS:
            raise UserError(
                f"{_MODULE}: legal are {' and '.join(_ACTIONS)}; received {action!r}; "
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
