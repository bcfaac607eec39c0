"""A child process that leaves nothing behind, and how its end is told. Standard library only."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
#: Lines of its output that are kept when it fails.
_KEPT_LINES = 12


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads its group, and all that it started."""
    # No such group: it ended by itself, with all that it started.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment() -> dict[str, str]:
    """The environment of a child process: this repository on its path, no GPU."""
    environment = dict(os.environ)
    paths = [str(_ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
    # On the CPU: the pipeline's own process may hold all of the GPU's memory.
    environment["CUDA_VISIBLE_DEVICES"] = "-1"
    return environment


def ending(status: int) -> str:
    """How a process ended, in words."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def tail(log_path: str) -> str:
    """The last lines of a log as one line."""
    with open(log_path, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    return " | ".join(lines[-_KEPT_LINES:])[-2000:] or "it said nothing"
