"""The server under test: the embedded one in a separate process, or a stock one."""

import contextlib
import dataclasses
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[4]
START_SECONDS = 180


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server that serves half_plus_two as model ``default``, version 123.

    Attributes:
        url: URL of REST, without a trailing slash.
        grpc_target: host and port of gRPC; "" if unknown.
        stock: whether it is TensorFlow Serving itself.
        process: process of the embedded server.
    """

    url: str
    grpc_target: str
    stock: bool = False
    process: "subprocess.Popen[str] | None" = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of REST."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)


def stock_server() -> Server | None:
    """Return the server given by TF_SERVING_URL and TF_SERVING_GRPC; None if they are not set."""
    url = os.environ.get("TF_SERVING_URL")
    return Server(url.rstrip("/"), os.environ.get("TF_SERVING_GRPC", ""), True) if url else None


@contextlib.contextmanager
def embedded_server(**settings: Any) -> Iterator[Server]:
    """Run a server process on free ports until exit; it is ready on entry."""
    process = subprocess.Popen(
        [
            sys.executable,
            str(Path(__file__).with_name("start_server.py")),
            json.dumps({"port": 0, "rest_api_port": 0, **settings}),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        endpoints = json.loads(_first_line(process))
        host = endpoints["host"]
        yield Server(
            f"http://{host}:{endpoints['rest_api_port']}",
            f"{host}:{endpoints['port']}",
            process=process,
        )
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _first_line(process: "subprocess.Popen[str]") -> str:
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(
        target=lambda output: lines.put(output.readline()), args=(process.stdout,), daemon=True
    ).start()
    line = lines.get(timeout=START_SECONDS)
    assert line, f"the server ended with code {process.wait()}"
    return line
