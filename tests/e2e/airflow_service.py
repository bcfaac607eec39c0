"""Airflow installation for the tests; ``make env-airflow`` installs it."""

import contextlib
import os
import secrets
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.e2e.conftest import REPOSITORY

AIRFLOW = REPOSITORY / ".venv-airflow" / "bin" / "airflow"


class Airflow:
    """Airflow in its own folder: SQLite, no examples, basic authentication."""

    def __init__(self, home: Path) -> None:
        self.dags = home / "dags"
        self.dags.mkdir(parents=True)
        self.environment = {
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__API__AUTH_BACKENDS": "airflow.api.auth.backend.basic_auth",
            "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "2",
            "AIRFLOW__WEBSERVER__SECRET_KEY": secrets.token_hex(16),
            # It has its own packages; the executor searches the path for `airflow`.
            "PATH": f"{AIRFLOW.parent}:{os.environ['PATH']}",
            "PYTHONPATH": "",
        }

    def __call__(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [AIRFLOW, *arguments], env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0 or not check, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    def runs(self, dag_id: str) -> list[tuple[str, str, str]]:
        """Return id, type and state of the DAG's runs, oldest first."""
        return self._query(
            "SELECT run_id, run_type, state FROM dag_run WHERE dag_id = ? ORDER BY id", dag_id
        )

    def tasks(self, run_id: str) -> dict[str, str | None]:
        """Return the states of a run's tasks, by task id."""
        return dict(
            self._query("SELECT task_id, state FROM task_instance WHERE run_id = ?", run_id)
        )

    def _query(self, query: str, value: str) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(self.dags.parent / "airflow.db")) as database:
            return database.execute(query, (value,)).fetchall()

    @contextlib.contextmanager
    def service(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a service until the block ends."""
        log = self.dags.parent / f"{arguments[0]}.log"
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [AIRFLOW, *arguments],
                env=self.environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                _end(process)


def _end(service: subprocess.Popen[bytes]) -> None:
    """End a service and all processes that it started, some in their own process groups."""
    family = [*psutil.Process(service.pid).children(recursive=True), psutil.Process(service.pid)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    service.wait()
