"""The local runner: runs the pipeline in one worker process and watches it.

The separate process keeps TensorFlow's and Beam's output off the screen (it goes to a log file),
keeps the command line responsive, and turns a crash, or the kernel's out-of-memory killer, into a
failed run instead of a killed command.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from modules.contract.errors import UserError
from modules.contract.progress import PROGRESS_FILE_VARIABLE
from pipeline.config import Config
from pipeline.nodes import check_node

Event = dict[str, Any]

#: Seconds between polls of the worker's events.
_POLL_SECONDS = 0.1
#: Seconds that the worker has to end after SIGTERM, before SIGKILL.
_GRACE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class RunOutcome:
    """Outcome of a run.

    Attributes:
        run_id: the pipeline run's id in the metadata.
        state: "succeeded" or "failed".
        log: file with everything that the worker printed.
        seconds: wall-clock time.
        error: one line, or None.
        user_error: whether the user can fix the error.
    """

    run_id: str
    state: Literal["succeeded", "failed"]
    log: Path
    seconds: float
    error: str | None = None
    user_error: bool = False


def run(
    config: Config,
    *,
    from_node: str | None = None,
    to_node: str | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> RunOutcome:
    """Run the pipeline here and wait for it.

    Args:
        config: the resolved configuration.
        from_node: first node to run, e.g. "Trainer"; earlier nodes' outputs are the last run's.
        to_node: last node to run.
        on_event: called with each event, in order (see ``runners.local.worker``).

    Returns:
        The outcome. A failed component is an outcome, not an exception.

    Raises:
        UserError: the node does not exist, another run uses the pipeline root, or the root cannot
            be written.
    """
    check_node("--from", from_node, config)
    check_node("--to", to_node, config)
    root = Path(config.pipeline_root())
    run_id = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    logs = root / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"pipeline.root: {root} cannot be written ({error.strerror}); "
            "choose another: --set pipeline.root=PATH"
        ) from error
    order = {
        "config": config.model_dump(mode="json"),
        "run_id": run_id,
        "from_node": from_node,
        "to_node": to_node,
    }
    with _exclusive(root):
        return _watch(order, logs, on_event)


@contextlib.contextmanager
def _exclusive(root: Path) -> Iterator[None]:
    """Lock a pipeline root for one run. The kernel releases the lock when its holder dies.

    Raises:
        UserError: another run is using the root.
    """
    with open(root / ".lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another run is using {root}; wait for it, or run elsewhere: "
                "--set pipeline.root=PATH"
            ) from error
        yield


def _watch(order: dict[str, Any], logs: Path, on_event: Callable[[Event], None]) -> RunOutcome:
    started, run_id = time.monotonic(), order["run_id"]
    log, events = logs / f"{run_id}.log", logs / f"{run_id}.events.jsonl"
    events.touch()
    last: Event = {}

    def handle(event: Event) -> None:
        nonlocal last
        if event["event"] == "run_started":
            event["log"] = str(log)
        if event["event"] == "run_finished":
            last = event
        on_event(event)

    with open(log, "wb") as log_file, open(events, encoding="utf-8") as event_file:
        worker = _start_worker(order, events, log_file)
        try:
            while worker.poll() is None:
                _read_events(event_file, handle)
                time.sleep(_POLL_SECONDS)
        except BaseException:
            stop(worker)
            raise
        finally:
            _read_events(event_file, handle)
            if worker.stdin:
                worker.stdin.close()
    seconds = time.monotonic() - started
    if not last:
        error = f"the worker ended with {_describe_exit(worker.returncode)}; see {log}"
        last = {"event": "run_finished", "state": "failed", "seconds": seconds, "error": error}
        on_event(last)
    return RunOutcome(
        run_id=run_id,
        state=last["state"],
        log=log,
        seconds=seconds,
        error=last.get("error"),
        user_error=bool(last.get("user_error")),
    )


def _start_worker(order: dict[str, Any], events: Path, log_file: Any) -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "runners.local.worker"],
        stdin=subprocess.PIPE,
        stdout=log_file,
        stderr=subprocess.STDOUT,
        env={**os.environ, PROGRESS_FILE_VARIABLE: str(events), "PYTHONUNBUFFERED": "1"},
        # Ctrl-C reaches only this process, which then ends the worker and all its children.
        start_new_session=True,
    )
    # Over a pipe, because a metadata URL may hold a password and arguments are public. The pipe
    # stays open: when it closes, the worker knows that this process has ended.
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        worker.stdin.write(json.dumps(order).encode() + b"\n")
        worker.stdin.flush()
    return worker


def _read_events(file: Any, handle: Callable[[Event], None]) -> None:
    while True:
        position = file.tell()
        line = file.readline()
        if not line.endswith("\n"):
            file.seek(position)  # an incomplete line: read it with the next poll
            return
        handle(json.loads(line))


def stop(worker: subprocess.Popen[bytes]) -> None:
    """End the worker and every process that it started."""
    for sign, patience in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, sign)
        try:
            worker.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
