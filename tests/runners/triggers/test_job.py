import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runners.triggers import job, run_lock
from runners.triggers.job import Step
from runners.triggers.run_lock import RunLock
from tests.runners.triggers.processes import RUN, begun, end_runs, until


def step(code: str, *arguments: str, name: str = "step", required: bool = True) -> Step:
    return Step(name, [sys.executable, "-c", code, *arguments], required)


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[RunLock]:
    lock = RunLock.acquire(tmp_path)
    assert lock is not None
    yield lock
    end_runs(tmp_path)


def test_commands_run_in_order_and_the_status_is_written(tmp_path: Path, lock: RunLock) -> None:
    steps = [step("print('first')"), step("print('second')")]
    process = job.start(tmp_path / "run", steps, lock.descriptor)
    lock.close()
    assert process.wait(60) == 0
    status = job.read_status(tmp_path / "run")
    assert status is not None
    assert status.exit_code == 0
    assert (tmp_path / "run" / job.LOG_FILE).read_text().split() == ["first", "second"]
    assert not run_lock.held(tmp_path)


def test_log_is_for_the_owner_only(tmp_path: Path, lock: RunLock) -> None:
    before = os.umask(0o022)
    try:
        process = job.start(tmp_path / "run", [step("print('a text')")], lock.descriptor)
    finally:
        os.umask(before)
    lock.close()
    assert process.wait(60) == 0
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "run" / job.LOG_FILE).stat().st_mode & 0o777 == 0o600


def test_failed_command_is_the_last(tmp_path: Path, lock: RunLock) -> None:
    steps = [step("raise SystemExit(2)"), step("print('second')")]
    process = job.start(tmp_path / "run", steps, lock.descriptor)
    lock.close()
    assert process.wait(60) == 2
    status = job.read_status(tmp_path / "run")
    assert status is not None
    assert status.exit_code == 2
    assert "second" not in (tmp_path / "run" / job.LOG_FILE).read_text()


def test_lock_is_held_until_the_command_of_a_killed_job_ends(tmp_path: Path, lock: RunLock) -> None:
    steps = [step(RUN, str(tmp_path))]
    process = job.start(tmp_path / "run", steps, lock.descriptor)
    lock.close()
    until(lambda: begun(tmp_path))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert run_lock.held(tmp_path)
    assert job.read_status(tmp_path / "run") is None
    (tmp_path / "go").touch()
    until(lambda: not run_lock.held(tmp_path))


def test_sigterm_reaches_the_command_and_is_recorded(tmp_path: Path, lock: RunLock) -> None:
    process = job.start(tmp_path / "run", [step(RUN, str(tmp_path))], lock.descriptor)
    lock.close()
    until(lambda: begun(tmp_path))
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    status = job.read_status(tmp_path / "run")
    assert status is not None
    assert status.exit_code == -signal.SIGTERM


def test_failed_optional_command_does_not_end_the_job(tmp_path: Path, lock: RunLock) -> None:
    steps = [step("raise SystemExit(2)", name="export", required=False), step("print('second')")]
    process = job.start(tmp_path / "run", steps, lock.descriptor)
    lock.close()
    assert process.wait(60) == 0
    status = job.read_status(tmp_path / "run")
    assert status is not None
    assert (status.exit_code, status.failed) == (0, ["export"])
    assert "second" in (tmp_path / "run" / job.LOG_FILE).read_text()
