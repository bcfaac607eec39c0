"""The processes of ``benchmarks.serving_server``: both servers and the load, and their CPU time."""

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
    """CPU time of a server so far.

    Attributes:
        front: of the process that speaks the protocols.
        workers: of those that hold models.
    """

    front: float
    workers: float


class _Process:
    """A process that ends with the block.

    Args:
        command: what to run.
        port: where ``/readyz`` answers 200 once it is ready.
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
                raise SystemExit(f"a server ended early: {self._process.stderr.read()[-2000:]}")
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                return
            time.sleep(0.2)
        raise SystemExit(f"a server was not ready within {_START_SECONDS} s")


class BertServer(_Process):
    """``bert serve``, as it is started by hand.

    Args:
        base: folder of versions.
        flags: further ones.

    Attributes:
        rest_port: of REST.
        grpc_port: of gRPC.
    """

    def __init__(self, base: Path, flags: Sequence[str] = ()) -> None:
        self.rest_port, self.grpc_port = free_port(), free_port()
        command = [sys.executable, "-m", "cli.main", "serve", f"--model_base_path={base}"]
        command += [f"--model_name={MODEL_NAME}", f"--port={self.grpc_port}"]
        command += [f"--rest_api_port={self.rest_port}", *flags]
        super().__init__(command, self.rest_port)
        self._front = psutil.Process(self._process.pid)

    def workers(self) -> list[psutil.Process]:
        """Processes that hold a version each: forked by the front's one child."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [worker for zygote in self._front.children() for worker in zygote.children()]
        return []

    def cpu_seconds(self) -> CpuSeconds:
        """CPU time so far; of workers that ended, nothing."""
        return CpuSeconds(_cpu(self._front), sum(map(_cpu, self.workers())))

    def memory(self) -> int:
        """Bytes in RAM of the processes that outlive versions: the front, and what forks workers.

        A worker ends with its version, and gives back all it had.
        """
        lasting = [self._front, *self._front.children()]
        return sum(int(process.memory_info().rss) for process in lasting)


class FlaskServer(_Process):
    """The pipeline behind Flask.

    Args:
        python: of the other environment.
        options: of ``benchmarks/serving_flask.py``, but for the port.

    Attributes:
        port: of HTTP.
    """

    def __init__(self, python: str, options: dict[str, Any]) -> None:
        self.port = free_port()
        script = str(ROOT / "benchmarks" / "serving_flask.py")
        super().__init__([python, script, json.dumps(options | {"port": self.port})], self.port)


class LoadProcess:
    """``benchmarks.serving_load``, ended with the block."""

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
        """Give an order."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Wait for what came of it."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the load process ended early")
        result: dict[str, Any] = json.loads(line)
        return result

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Both."""
        self.send(order)
        return self.receive()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
