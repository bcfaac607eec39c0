"""Processes of ``benchmarks.serving_server``: both servers and the load generator."""

import contextlib
import dataclasses
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import psutil

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
MODEL_NAME = "reviews"
_START_SECONDS = 180


@dataclasses.dataclass(frozen=True)
class CpuSeconds:
    """CPU time of a server so far, in seconds.

    Attributes:
        front: CPU time of the process that handles the protocols.
        workers: CPU time of the processes that hold models.
    """

    front: float
    workers: float


class _Process:
    """A server process that is stopped at the end of the block.

    Args:
        command: the command to run.
        port: HTTP port whose ``/readyz`` returns 200 when the server is ready.
    """

    def __init__(self, command: Sequence[str], port: int) -> None:
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT, text=True
        )
        try:
            self._wait_until_ready(f"http://{HOST}:{port}/readyz")
        except BaseException:
            self._process.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()

    def _wait_until_ready(self, url: str) -> None:
        assert self._process.stderr
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise SystemExit(f"a server exited early: {self._process.stderr.read()[-2000:]}")
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                return
            time.sleep(0.2)
        raise SystemExit(f"a server was not ready within {_START_SECONDS} s")


class BertServer(_Process):
    """``bert serve``, as started on the command line.

    Args:
        base: folder of versions.
        flags: additional flags.

    Attributes:
        rest_port: port of REST.
        grpc_port: port of gRPC.
    """

    def __init__(self, base: Path, flags: Sequence[str] = ()) -> None:
        self.rest_port, self.grpc_port = free_port(), free_port()
        command = [sys.executable, "-m", "cli.main", "serve", f"--model_base_path={base}"]
        command += [f"--model_name={MODEL_NAME}", f"--port={self.grpc_port}"]
        command += [f"--rest_api_port={self.rest_port}", *flags]
        super().__init__(command, self.rest_port)
        self._front = psutil.Process(self._process.pid)

    def workers(self) -> list[psutil.Process]:
        """Return the processes with one version each, forked by the front process's only child."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [worker for zygote in self._front.children() for worker in zygote.children()]
        return []

    def cpu_seconds(self) -> CpuSeconds:
        """Return the CPU time so far, without workers that have exited."""
        return CpuSeconds(_cpu(self._front), sum(map(_cpu, self.workers())))

    def memory(self) -> int:
        """Return the resident memory in bytes of the processes that outlive versions.

        These are the front process and the one that forks workers. Workers exit with their version.
        """
        lasting = [self._front, *self._front.children()]
        return sum(int(process.memory_info().rss) for process in lasting)


class FlaskServer(_Process):
    """transformers' pipeline behind Flask.

    Args:
        python: Python interpreter of the other environment.
        options: options of ``benchmarks/serving_flask.py`` except the port.

    Attributes:
        port: HTTP port.
    """

    def __init__(self, python: str, options: dict[str, Any]) -> None:
        self.port = free_port()
        script = str(ROOT / "benchmarks" / "serving_flask.py")
        super().__init__([python, script, json.dumps(options | {"port": self.port})], self.port)


class LoadProcess:
    """The process of ``benchmarks.serving_load``, which is stopped at the end of the block."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving_load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()

    def send(self, order: dict[str, Any]) -> None:
        """Send an order."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Wait for the result of an order and return it.

        Raises:
            SystemExit: the load process has exited.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the load process exited early")
        result: dict[str, Any] = json.loads(line)
        return result

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send an order and return its result."""
        self.send(order)
        return self.receive()


def free_port() -> int:
    """Return a free port."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
