"""Helpers to start, stop and report on a child process. Standard library only."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
#: Number of lines of its output that an error quotes.
_KEPT_LINES = 12


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads its group, and everything that it started."""
    # The group does not exist if all its processes have exited.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment() -> dict[str, str]:
    """Return the environment of a child process: this repository on its path, no GPU."""
    environment = dict(os.environ)
    paths = [str(_ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
    # CPU only, because the pipeline's own process may hold all of the GPU's memory.
    environment["CUDA_VISIBLE_DEVICES"] = "-1"
    return environment


def ending(status: int) -> str:
    """Return how a process ended, in words.

    Args:
        status: its exit status; negative: the signal that killed it.
    """
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"


def tail(log_path: str) -> str:
    """Return the last lines of a log as one line."""
    with open(log_path, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    return " | ".join(lines[-_KEPT_LINES:])[-2000:] or "no output"
