"""Starts the worker, waits for it, and leaves nothing of it behind. Standard library only."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.infra_validation import worker
from modules.errors import ModelError

_ROOT = Path(__file__).resolve().parents[2]
#: Lines of the worker's error output that are kept when it fails.
_KEPT_LINES = 12


#: Starts the worker; the paths of request and reply follow.
COMMAND = (sys.executable, "-m", worker.__name__)


def run_worker(
    request: dict[str, Any], timeout_seconds: float, command: Sequence[str] = COMMAND
) -> dict[str, Any]:
    """Run the worker on one request.

    Args:
        request: JSON-serialisable; see ``worker.main``.
        timeout_seconds: after which the worker's whole process group is killed; 0 waits forever.
        command: what to start.

    Returns:
        The worker's reply.

    Raises:
        ModelError: the worker ended without a reply, or not in time.
    """
    with tempfile.TemporaryDirectory(prefix="infra-validation-") as folder:
        request_path = os.path.join(folder, "request.json")
        reply_path = os.path.join(folder, "reply.json")
        log_path = os.path.join(folder, "worker.log")
        with open(request_path, "w", encoding="utf-8") as file:
            json.dump({**request, "timeout_seconds": timeout_seconds}, file)
        status = _run([*command, request_path, reply_path], log_path, timeout_seconds)
        if status is None:
            raise ModelError(
                f"loading and replaying took longer than {timeout_seconds:g} s and was stopped"
            )
        if status == 0 and os.path.exists(reply_path):
            with open(reply_path, encoding="utf-8") as file:
                reply: dict[str, Any] = json.load(file)
            return reply
        raise ModelError(f"the process that loads the model {_ending(status)}: {_tail(log_path)}")


def _run(command: list[str], log_path: str, timeout_seconds: float) -> int | None:
    """The worker's exit status, or None when it ran out of time."""
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, so that all of it can be killed
        )
        try:
            return process.wait(timeout_seconds or None)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # No such group: it ended by itself, with all that it started.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    paths = [str(_ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
    # On the CPU: the pipeline's own process may hold all of the GPU's memory.
    environment["CUDA_VISIBLE_DEVICES"] = "-1"
    return environment


def _ending(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def _tail(log_path: str) -> str:
    with open(log_path, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    return " | ".join(lines[-_KEPT_LINES:])[-2000:] or "it said nothing"
