import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modules.contract.errors import UserError
from runners.triggers import run_lock
from runners.triggers.run_lock import RunLock
from tests.runners.triggers.processes import ROOT, until

#: Acquires the lock, starts a process that inherits it, prints the process id and waits.
HOLDER = """
import pathlib, subprocess, sys, time
from runners.triggers.run_lock import RunLock
lock = RunLock.acquire(pathlib.Path(sys.argv[1]))
child = subprocess.Popen(["sleep", "120"], pass_fds=[lock.descriptor], start_new_session=True)
print(child.pid, flush=True)
time.sleep(120)
"""


def test_lock_has_one_holder_at_a_time(tmp_path: Path) -> None:
    first = RunLock.acquire(tmp_path)
    assert first is not None
    assert run_lock.held(tmp_path)
    assert RunLock.acquire(tmp_path) is None
    first.close()
    assert not run_lock.held(tmp_path)
    second = RunLock.acquire(tmp_path)
    assert second is not None
    second.close()


def test_lock_outlives_a_killed_watcher_and_is_released_with_the_run(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as watcher:
        assert watcher.stdout is not None
        run = int(watcher.stdout.readline())
        watcher.kill()
    try:
        assert run_lock.held(tmp_path)
        assert RunLock.acquire(tmp_path) is None
    finally:
        os.kill(run, signal.SIGKILL)
    until(lambda: not run_lock.held(tmp_path))
    lock = RunLock.acquire(tmp_path)
    assert lock is not None
    lock.close()


def test_concurrent_checks_do_not_detect_each_other(tmp_path: Path) -> None:
    RunLock.acquire(tmp_path).close()
    with open(tmp_path / "run.lock") as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_SH)
        assert not run_lock.held(tmp_path)


def test_manual_run_is_detected(tmp_path: Path) -> None:
    from runners.local.run import _exclusive

    assert not run_lock.root_in_use(str(tmp_path))
    with _exclusive(tmp_path):
        assert run_lock.root_in_use(str(tmp_path))
    assert not run_lock.root_in_use(str(tmp_path))


def test_folder_that_cannot_be_created_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"pipeline\.root: .* cannot be written"):
        RunLock.acquire(tmp_path / "file" / "triggers")
