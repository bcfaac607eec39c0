"""Start runs and read their status, also of runs that an earlier watcher started."""

import dataclasses
import datetime
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from modules.contract.errors import UserError
from pipeline.config import Config
from runners.triggers import job, platform_runs, run_lock
from runners.triggers.config_source import ConfigSource, state_folder
from runners.triggers.history import FAILED, LOST, RUNNING, SUCCEEDED, RunRecord
from runners.triggers.job import JobStatus, Step
from runners.triggers.platform_runs import PlatformRuns
from runners.triggers.run_lock import RunLock
from runners.triggers.store import NewRun

LOCAL = "local"
#: Age at which a run on another machine, whose files are not here, counts as lost.
ELSEWHERE_SECONDS = 86_400.0
#: Age at which a run whose platform cannot be queried counts as lost.
UNREACHABLE_SECONDS = 7 * 86_400.0

#: Makes a job's commands: the config's source, the runner, the job's folder.
Steps = Callable[[ConfigSource, str, Path], Sequence[Step]]


def bert_steps(source: ConfigSource, runner: str, folder: Path) -> list[Step]:
    """Return the commands of a run: export a new span, then run or submit the pipeline.

    The run continues if the export fails. It may be what makes the export work again, because it
    recreates a lost test split.
    """
    bert, options = [sys.executable, "-m", "cli.main"], source.options()
    export = Step("bert feedback export", [*bert, "feedback", "export", *options], required=False)
    if runner == LOCAL:
        return [export, Step("bert run", [*bert, "run", *options])]
    submission = platform_runs.command(runner, folder / job.SUBMITTED_FILE, source)
    return [export, Step("bert submit", submission)]


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """Status of a run.

    Attributes:
        state: as in ``RunRecord.state``.
        sentence: description for people.
        external_id: the platform's id of the run, once known.
        details: details to store with the run.
        finished: when it ended, seconds since 1970; None if unknown.
    """

    state: str
    sentence: str
    external_id: str = ""
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    finished: float | None = None


class Launcher:
    """Launcher of one pipeline's runs, each in a process of its own.

    Args:
        config: the pipeline's config.
        source: the config options that the runs are started with.
        steps: makes their commands.
        platforms: reads the states of runs elsewhere; None connects as the config says.
    """

    def __init__(
        self,
        config: Config,
        source: ConfigSource,
        *,
        steps: Steps = bert_steps,
        platforms: PlatformRuns | None = None,
    ) -> None:
        self.runner: str = config.triggers.runner
        self._root = config.pipeline_root()
        self._source = source
        self._steps = steps
        self._platforms = platforms or PlatformRuns(config)
        self._children: list[subprocess.Popen[bytes]] = []
        self.folder = state_folder(config)

    def prepare(self) -> tuple[RunLock | None, str]:
        """Acquire the lock, unless something is running.

        Returns:
            The lock and "", or None and the reason why no run can start.

        Raises:
            UserError: the folder cannot be written.
        """
        lock = RunLock.acquire(self.folder)
        if lock is None:
            return None, "another run is running"
        if run_lock.root_in_use(self._root):
            lock.close()
            return None, "a run that was started by hand is running"
        return lock, ""

    def job_folder(self, run_id: int, started: float) -> Path:
        """Return the folder of a run's log and status.

        It is named by id and start, because ids begin again with a new database.
        """
        moment = datetime.datetime.fromtimestamp(started, datetime.UTC)
        return self.folder / f"run-{run_id}-{moment:%Y%m%d-%H%M%S-%f}"

    def new_run(self) -> NewRun:
        """Return the record of a new run, by which it is found again."""
        return NewRun(self.runner, details={"host": socket.gethostname()})

    def start(self, run_id: int, started: float, lock: RunLock) -> dict[str, str]:
        """Start the process of a run that is recorded in the database.

        Args:
            run_id: the run's id in the database.
            started: its start in the database, seconds since 1970.
            lock: the held lock, which the run's process inherits.

        Returns:
            Places where the run can be followed: "log" -> its log file.

        Raises:
            OSError: it cannot be started.
        """
        folder = self.job_folder(run_id, started)
        steps = self._steps(self._source, self.runner, folder)
        self._children.append(job.start(folder, steps, lock.descriptor))
        return {"log": str(folder / job.LOG_FILE)}

    def wait(self) -> None:
        """Wait until every local run or submission that was started here has ended."""
        for child in self._children:
            child.wait()

    def status(self, run: RunRecord, now: float) -> RunStatus:
        """Return the status of a run that is running according to the database."""
        self._children = [child for child in self._children if child.poll() is None]
        if run.external_id:
            return self._at_platform(run, run.external_id, now)
        folder = self.job_folder(run.id, run.started)
        # Before the status is read: a job that ends in between has written its status by then.
        holds = run_lock.held(self.folder)
        status = job.read_status(folder)
        submitted = job.read_json(folder / job.SUBMITTED_FILE)
        if submitted:
            name, url = str(submitted["name"]), str(submitted["url"])
            return RunStatus(RUNNING, f"submitted as {name}", name, {"url": url})
        if status is None:
            return self._without_status(run, folder, holds, now)
        return _ended(status, folder / job.LOG_FILE)

    def _without_status(self, run: RunRecord, folder: Path, holds: bool, now: float) -> RunStatus:
        here = run.details.get("host") == socket.gethostname() or folder.exists()
        if not here and now - run.started < ELSEWHERE_SECONDS:
            return RunStatus(RUNNING, f"it is running on {run.details.get('host')}")
        if here and holds:
            return RunStatus(RUNNING, "it is running")
        return RunStatus(LOST, "its process ended without a status")

    def _at_platform(self, run: RunRecord, name: str, now: float) -> RunStatus:
        try:
            found = self._platforms.state(run.runner, name)
        except UserError as error:
            state = LOST if now - run.started > UNREACHABLE_SECONDS else RUNNING
            return RunStatus(state, f"{run.runner} cannot be queried: {error}", name)
        if not found.finished:
            return RunStatus(RUNNING, f"{run.runner} reports {found.state}", name)
        state = SUCCEEDED if found.succeeded else FAILED
        cause = f": {found.error}" if found.error else ""
        return RunStatus(state, f"{run.runner} reports {found.state}{cause}", name)


def _ended(status: JobStatus, log: Path) -> RunStatus:
    details: dict[str, Any] = {"exit_code": status.exit_code, "failed_steps": status.failed}
    if status.exit_code:
        sentence = f"{status.failed[-1]} ended with exit code {status.exit_code}; see {log}"
        return RunStatus(FAILED, sentence, details=details, finished=status.finished)
    sentence = "all steps succeeded"
    if status.failed:
        sentence = f"it continued although {' and '.join(status.failed)} failed; see {log}"
    return RunStatus(SUCCEEDED, sentence, details=details, finished=status.finished)
