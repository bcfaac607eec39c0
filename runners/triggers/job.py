"""A triggered run's own process: ``python -m runners.triggers.job ORDER``.

Runs commands one after the other until a required one fails, and writes how that ended to
``status.json``, where the watcher, or the next one, finds it. Imports little: it only waits.
"""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from modules.contract.atomic_file import write_text

STATUS_FILE = "status.json"
LOG_FILE = "log.txt"
SUBMITTED_FILE = "submitted.json"


@dataclasses.dataclass(frozen=True)
class Step:
    """One command of a job.

    Attributes:
        name: for people.
        command: its words.
        required: whether the job fails with it, and ends.
    """

    name: str
    command: Sequence[str]
    required: bool = True


@dataclasses.dataclass(frozen=True)
class JobStatus:
    """How a job ended.

    Attributes:
        exit_code: of the required command that failed; 0 when none did; minus a signal's number
            when one ended it.
        finished: when, seconds since 1970.
        failed: names of the commands that failed, also of those that may.
    """

    exit_code: int
    finished: float
    failed: list[str]


def start(folder: Path, steps: Sequence[Step], lock: int) -> subprocess.Popen[bytes]:
    """Start a job that outlives this process.

    Args:
        folder: made here; gets log and status.
        steps: the commands.
        lock: descriptor of the held lock, which the job inherits.

    Raises:
        OSError: the folder cannot be written, or no process started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = {
        "folder": str(folder),
        "lock": lock,
        "steps": [dataclasses.asdict(step) for step in steps],
    }
    with open(folder / LOG_FILE, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "runners.triggers.job", json.dumps(order)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            # Ctrl-C and the end of the terminal reach the watcher alone.
            start_new_session=True,
        )


def read_status(folder: Path) -> JobStatus | None:
    """How the job of a folder ended; None when it has not, or could not say so."""
    found = read_json(folder / STATUS_FILE)
    if not found:
        return None
    return JobStatus(found["exit_code"], found["finished"], found.get("failed", []))


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file that is written whole; None without the file."""
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None


def main(order: dict[str, Any]) -> int:
    """Run the commands of an order; see ``start``."""
    code, failed = 0, []
    for step in (Step(**values) for values in order["steps"]):
        ended = _run(step.command, order["lock"])
        if ended:
            failed.append(step.name)
        # A signal is meant for the whole job.
        if ended and (step.required or ended < 0):
            code = ended
            break
    status = JobStatus(code, time.time(), failed)
    text = json.dumps(dataclasses.asdict(status))
    write_text(Path(order["folder"]) / STATUS_FILE, text)
    return code


def _run(command: Sequence[str], lock: int) -> int:
    """One command, which inherits the lock: it may outlive this process."""
    process = subprocess.Popen(command, pass_fds=[lock], stdin=subprocess.DEVNULL)

    def forward(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    before = signal.signal(signal.SIGTERM, forward)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(max(0, main(json.loads(sys.argv[1]))))
