"""Runs that are DAG runs of Airflow: the DAG's first task decides whether they continue.

Nothing is started here: the DAG run that polls is the run. Nor is Airflow's web server asked, for
which a task has no password: the task passes in the states of the DAG's runs.
"""

import dataclasses
from collections.abc import Mapping

from pipeline.config import Config
from runners.remote.platform import RunState
from runners.triggers.config_source import ConfigSource
from runners.triggers.launch import Launcher
from runners.triggers.platform_runs import PlatformRuns
from runners.triggers.run_lock import RunLock
from runners.triggers.store import NewRun

AIRFLOW = "airflow"
#: Airflow's final states of a DAG run.
SUCCESS, FAILED = "success", "failed"


class KnownDagRuns(PlatformRuns):
    """States of runs: of Airflow's as a task passed them in, of others' by asking the platform.

    Args:
        config: gives the platforms' addresses.
        states: run id -> Airflow's state, of the DAG's last runs.
    """

    def __init__(self, config: Config, states: Mapping[str, str]) -> None:
        super().__init__(config)
        self._states = states

    def state(self, runner: str, run_id: str) -> RunState:
        """Return the state of a run.

        Raises:
            UserError: the platform cannot be queried.
        """
        if runner != AIRFLOW:
            return super().state(runner, run_id)
        state = self._states.get(run_id)
        if state is None:  # deleted, or long ago; a queued or running one would be among them
            return RunState("that the run has ended", finished=True, succeeded=False)
        return RunState(state, finished=state in (SUCCESS, FAILED), succeeded=state == SUCCESS)


class DagRunLauncher(Launcher):
    """A launcher that starts no process: the run is the DAG run that polls.

    As with a run submitted to a platform, other runs are held back while the database has it as
    running; the lock on the file is held only during the decision.

    Args:
        config: the pipeline's config.
        source: the source of the config.
        dag_run: id of the DAG run that polls.
        states: see ``KnownDagRuns``.
    """

    def __init__(
        self, config: Config, source: ConfigSource, dag_run: str, states: Mapping[str, str]
    ) -> None:
        super().__init__(config, source, platforms=KnownDagRuns(config, states))
        self.runner = AIRFLOW
        self._dag_run = dag_run

    def new_run(self) -> NewRun:
        """Return the record of a new run, with the id by which the DAG run finds it again."""
        return dataclasses.replace(super().new_run(), external_id=self._dag_run)

    def start(self, run_id: int, started: float, lock: RunLock) -> dict[str, str]:
        """Start nothing: the DAG run continues by itself."""
        return {"DAG run": self._dag_run}
