"""A local run as seen by the process that watches it: locks, crashes, errors."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from modules.contract.errors import DataError, UserError
from pipeline.config import Config, load
from runners.local import run as local
from runners.node.node_runner import describe_error


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(assignments=[f"pipeline.root={tmp_path}/root"], environ={})


def _replace_worker(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Start ``python -c code`` in place of the worker."""
    real = subprocess.Popen

    def start(command: list[str], **options: object) -> subprocess.Popen:
        return real([command[0], "-c", code], **options)

    monkeypatch.setattr(local.subprocess, "Popen", start)


def test_second_run_on_a_root_is_refused(config: Config) -> None:
    root = Path(config.pipeline_root())
    root.mkdir()
    with local._exclusive(root), pytest.raises(UserError, match="another run is using"):
        local.run(config)


def test_root_that_cannot_be_created_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = load(assignments=[f"pipeline.root={tmp_path}/file/root"], environ={})
    with pytest.raises(UserError, match=r"pipeline\.root: .* cannot be written"):
        local.run(config)


def test_events_arrive_in_order_and_output_goes_to_the_log(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    _replace_worker(
        monkeypatch,
        "from modules.contract import progress\n"
        "print('chatter')\n"
        "progress.emit('run_started', run_id='1', nodes=['A'])\n"
        "progress.emit('node_started', node='A')\n"
        "progress.emit('run_finished', state='succeeded', seconds=1.0)\n",
    )
    events: list[local.Event] = []
    outcome = local.run(config, on_event=events.append)
    assert [event["event"] for event in events] == ["run_started", "node_started", "run_finished"]
    assert events[0]["log"] == str(outcome.log)
    assert outcome.state == "succeeded"
    assert "chatter" in outcome.log.read_text()


def test_root_and_logs_are_for_the_owner_only(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    _replace_worker(monkeypatch, "print('a text')")
    before = os.umask(0o022)
    try:
        log = local.run(config).log
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in (log.parents[1], *log.parent.iterdir())}
    assert modes.pop(log.parents[1]) == 0o700
    assert len(modes) == 2
    assert set(modes.values()) == {0o600}


def test_killed_worker_is_a_failed_run(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    _replace_worker(monkeypatch, "import os; os.kill(os.getpid(), 9)")
    outcome = local.run(config)
    assert outcome.state == "failed"
    assert outcome.error is not None
    assert "SIGKILL" in outcome.error
    assert str(outcome.log) in outcome.error


def test_interrupt_ends_the_worker_and_its_children(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    _replace_worker(
        monkeypatch,
        "import subprocess, sys, time\n"
        "from modules.contract import progress\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "progress.emit('child', pid=child.pid)\n"
        "time.sleep(600)\n",
    )
    pids: list[int] = []

    def interrupt(event: local.Event) -> None:
        pids.append(event["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.run(config, on_event=interrupt)
    # SIGTERM also ends the child, but a moment later than the worker that started it.
    for _ in range(200):
        if not psutil.pid_exists(pids[0]) or psutil.Process(pids[0]).status() == "zombie":
            return
        time.sleep(0.05)
    pytest.fail("the worker's child is still running")


def test_worker_ends_with_the_process_that_watches_it(tmp_path: Path) -> None:
    """The closed pipe is the signal."""
    order = {"config": {}, "run_id": "1", "from_node": None, "to_node": None}
    code = (
        "import runners.local.worker as w, time\n"
        "w.run_pipeline = lambda order: time.sleep(600)\n"
        "w.main()"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=Path(__file__).parents[3],
    )
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(order).encode() + b"\n")
    worker.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.5)
    worker.stdin.close()
    assert worker.wait(20) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_user_error_is_found_in_the_chain_of_causes() -> None:
    try:
        try:
            raise DataError("column 'text': empty")
        except DataError as error:
            raise RuntimeError("executor failed") from error
    except RuntimeError as error:
        described = describe_error(error)
    assert described == {"error": "column 'text': empty", "user_error": True, "kind": "data"}


def test_other_error_is_described_in_one_line() -> None:
    described = describe_error(ValueError("first\nsecond"))
    assert described == {"error": "ValueError: first", "user_error": False}
