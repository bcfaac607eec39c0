"""The process of a triggered run: ``python -m runners.triggers.job ORDER``.

It runs commands one after the other until a required one fails, and writes the result to
``status.json``, where this watcher or the next one finds it. It only waits, so it imports little.
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
from modules.contract.private_files import make_private_folder, private_opener

STATUS_FILE = "status.json"
LOG_FILE = "log.txt"
SUBMITTED_FILE = "submitted.json"


@dataclasses.dataclass(frozen=True)
class Step:
    """One command of a job.

    Attributes:
        name: name for people.
        command: program and arguments.
        required: whether its failure ends the job, which then fails too.
    """

    name: str
    command: Sequence[str]
    required: bool = True


@dataclasses.dataclass(frozen=True)
class JobStatus:
    """Result of a job.

    Attributes:
        exit_code: exit code of the required command that failed, or minus the number of the signal
            that ended it; 0 if none failed.
        finished: when the job ended, seconds since 1970.
        failed: names of the commands that failed, required or not.
    """

    exit_code: int
    finished: float
    failed: list[str]


def start(folder: Path, steps: Sequence[Step], lock: int) -> subprocess.Popen[bytes]:
    """Start a job that outlives this process.

    Args:
        folder: folder for log and status; created here.
        steps: the commands.
        lock: descriptor of the held lock, which the job inherits.

    Raises:
        OSError: the folder cannot be written, or the process cannot be started.
    """
    make_private_folder(folder)
    order = {
        "folder": str(folder),
        "lock": lock,
        "steps": [dataclasses.asdict(step) for step in steps],
    }
    with open(folder / LOG_FILE, "ab", opener=private_opener) as log:
        return subprocess.Popen(
            [sys.executable, "-m", "runners.triggers.job", json.dumps(order)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            # Ctrl-C and the end of the terminal reach only the watcher.
            start_new_session=True,
        )


def read_status(folder: Path) -> JobStatus | None:
    """Return how a folder's job ended; None if it runs, or ended without a status."""
    found = read_json(folder / STATUS_FILE)
    if not found:
        return None
    return JobStatus(found["exit_code"], found["finished"], found.get("failed", []))


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file that is written atomically; None without the file."""
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None


def main(order: dict[str, Any]) -> int:
    """Run the commands of an order (see ``start``); return the exit code."""
    code, failed = 0, []
    for step in (Step(**values) for values in order["steps"]):
        ended = _run(step.command, order["lock"])
        if ended:
            failed.append(step.name)
        # A signal is meant for the whole job, so it also ends at an optional step.
        if ended and (step.required or ended < 0):
            code = ended
            break
    status = JobStatus(code, time.time(), failed)
    text = json.dumps(dataclasses.asdict(status))
    write_text(Path(order["folder"]) / STATUS_FILE, text)
    return code


def _run(command: Sequence[str], lock: int) -> int:
    """Run a command, which inherits the lock because it may outlive this process."""
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
