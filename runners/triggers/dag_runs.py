"""Runs that are DAG runs of Airflow: the DAG's first task decides whether they go on.

Nothing is started here: the DAG run that asks is the run. Nor is Airflow asked, for a task has no
password of its web server: the task tells how the DAG's runs stand.
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
#: Airflow's words for a DAG run that will change no more.
SUCCESS, FAILED = "success", "failed"


class ToldDagRuns(PlatformRuns):
    """Knows of Airflow's runs what a task has told; asks other platforms.

    Args:
        config: names the platforms' addresses.
        states: of the DAG's last runs, Airflow's word by run id.
    """

    def __init__(self, config: Config, states: Mapping[str, str]) -> None:
        super().__init__(config)
        self._states = states

    def state(self, runner: str, run_id: str) -> RunState:
        """How a run stands."""
        if runner != AIRFLOW:
            return super().state(runner, run_id)
        state = self._states.get(run_id)
        if state is None:  # deleted, or long ago; one that waits or runs would have been told
            return RunState("that it has ended", finished=True, succeeded=False)
        return RunState(state, finished=state in (SUCCESS, FAILED), succeeded=state == SUCCESS)


class DagRunLauncher(Launcher):
    """Starts no process: a started run is the DAG run that asks.

    Other runs are held back while the database has it as under way, as with a run that was
    submitted to a platform; the lock on the file is held for the decision alone.

    Args:
        config: of the pipeline.
        source: where it comes from.
        dag_run: id of the DAG run that asks.
        states: see ``ToldDagRuns``.
    """

    def __init__(
        self, config: Config, source: ConfigSource, dag_run: str, states: Mapping[str, str]
    ) -> None:
        super().__init__(config, source, platforms=ToldDagRuns(config, states))
        self.runner = AIRFLOW
        self._dag_run = dag_run

    def new_run(self) -> NewRun:
        """What is kept of a new run; with the id, so that the DAG run finds it after a crash."""
        return dataclasses.replace(super().new_run(), external_id=self._dag_run)

    def start(self, run_id: int, started: float, lock: RunLock) -> dict[str, str]:
        """The DAG run goes on by itself."""
        return {"DAG run": self._dag_run}
