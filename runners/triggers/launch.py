"""Starts runs and finds out how they stand, also those of a watcher that is no more."""

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
#: A run of another machine, whose files are not here, counts as lost after so long.
ELSEWHERE_SECONDS = 86_400.0
#: A run that its platform cannot be asked about counts as lost after so long.
UNREACHABLE_SECONDS = 7 * 86_400.0

#: Makes a job's commands: the config's source, the runner, the job's folder.
Steps = Callable[[ConfigSource, str, Path], Sequence[Step]]


def bert_steps(source: ConfigSource, runner: str, folder: Path) -> list[Step]:
    """A new span first, then the run.

    The run goes on without a span: it may be just what makes the export possible again, for it
    renews a test split that is gone.
    """
    bert, options = [sys.executable, "-m", "cli.main"], source.options()
    export = Step("bert feedback export", [*bert, "feedback", "export", *options], required=False)
    if runner == LOCAL:
        return [export, Step("bert run", [*bert, "run", *options])]
    submission = platform_runs.command(runner, folder / job.SUBMITTED_FILE, source)
    return [export, Step("bert submit", submission)]


@dataclasses.dataclass(frozen=True)
class Standing:
    """How a run stands.

    Attributes:
        state: as in ``RunRecord.state``.
        sentence: for people.
        external_id: the platform's id of the run, once known.
        details: to be kept with the run.
        finished: when it ended, seconds since 1970, where that is known.
    """

    state: str
    sentence: str
    external_id: str = ""
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    finished: float | None = None


class Launcher:
    """Starts runs of one pipeline, each in a process of its own.

    Args:
        config: of the pipeline.
        source: what the runs are started with.
        steps: makes their commands.
        platforms: asked for runs elsewhere; None asks as the config says.
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
        """Take the lock, if nothing runs.

        Returns:
            The lock and "", or None and why no run can start.

        Raises:
            UserError: the folder cannot be written.
        """
        lock = RunLock.acquire(self.folder)
        if lock is None:
            return None, "a run is under way"
        if run_lock.root_in_use(self._root):
            lock.close()
            return None, "a run that was started by hand is under way"
        return lock, ""

    def job_folder(self, run_id: int, started: float) -> Path:
        """Where log and end of a run are kept. Ids alone begin again with a new database."""
        moment = datetime.datetime.fromtimestamp(started, datetime.UTC)
        return self.folder / f"run-{run_id}-{moment:%Y%m%d-%H%M%S-%f}"

    def new_run(self) -> NewRun:
        """What is kept of a new run, to find it again."""
        return NewRun(self.runner, details={"host": socket.gethostname()})

    def start(self, run_id: int, started: float, lock: RunLock) -> dict[str, str]:
        """Start a run that is in the database.

        Args:
            run_id: its id there.
            started: as it stands there.
            lock: held; the run's process inherits it.

        Returns:
            Where it can be seen: its log file.

        Raises:
            OSError: it cannot be started.
        """
        folder = self.job_folder(run_id, started)
        steps = self._steps(self._source, self.runner, folder)
        self._children.append(job.start(folder, steps, lock.descriptor))
        return {"log": str(folder / job.LOG_FILE)}

    def wait(self) -> None:
        """Wait for the processes that were started here: a local run's end, or a submission's."""
        for child in self._children:
            child.wait()

    def standing(self, run: RunRecord, now: float) -> Standing:
        """How a run stands that the database has as under way."""
        self._children = [child for child in self._children if child.poll() is None]
        if run.external_id:
            return self._at_platform(run, run.external_id, now)
        folder = self.job_folder(run.id, run.started)
        # Read before the status: a job that ends in between has written it by then.
        holds = run_lock.held(self.folder)
        status = job.read_status(folder)
        submitted = job.read_json(folder / job.SUBMITTED_FILE)
        if submitted:
            name, url = str(submitted["name"]), str(submitted["url"])
            return Standing(RUNNING, f"submitted as {name}", name, {"url": url})
        if status is None:
            return self._without_status(run, folder, holds, now)
        return _ended(status, folder / job.LOG_FILE)

    def _without_status(self, run: RunRecord, folder: Path, holds: bool, now: float) -> Standing:
        here = run.details.get("host") == socket.gethostname() or folder.exists()
        if not here and now - run.started < ELSEWHERE_SECONDS:
            return Standing(RUNNING, f"it is under way on {run.details.get('host')}")
        if here and holds:
            return Standing(RUNNING, "it is under way")
        return Standing(LOST, "its process is gone and left no word")

    def _at_platform(self, run: RunRecord, name: str, now: float) -> Standing:
        try:
            found = self._platforms.state(run.runner, name)
        except UserError as error:
            if now - run.started > UNREACHABLE_SECONDS:
                return Standing(LOST, f"{run.runner} cannot be asked: {error}", name)
            return Standing(RUNNING, f"{run.runner} cannot be asked: {error}", name)
        if not found.finished:
            return Standing(RUNNING, f"{run.runner} says {found.state}", name)
        state = SUCCEEDED if found.succeeded else FAILED
        cause = f": {found.error}" if found.error else ""
        return Standing(state, f"{run.runner} says {found.state}{cause}", name)


def _ended(status: JobStatus, log: Path) -> Standing:
    details: dict[str, Any] = {"exit_code": status.exit_code, "failed_steps": status.failed}
    if status.exit_code:
        sentence = f"{status.failed[-1]} ended with {status.exit_code}, see {log}"
        return Standing(FAILED, sentence, details=details, finished=status.finished)
    without = f", but not {' and '.join(status.failed)}, see {log}" if status.failed else ""
    return Standing(SUCCEEDED, f"all is done{without}", details=details, finished=status.finished)
