"""Docker engine for tests: serves on loopback the API that TFX's ``LocalDockerRunner`` calls.

A container of an image in ``IMAGES`` is the embedded model server with the arguments that
TensorFlow Serving's own image passes (``tools/docker/Dockerfile``: MODEL_NAME and MODEL_BASE_PATH
from the environment, ports 8500 and 8501). The client is the real ``docker`` package.
"""

import contextlib
import http.server
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

from components.infra_validation import model_servers

IMAGES = ("tensorflow/serving:2.19.1",)


class Engine(http.server.ThreadingHTTPServer):
    """The engine; ``containers`` holds the existing containers by id."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.containers: dict[str, _Container] = {}
        self.created: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.server_address[1]}"


class _Container:
    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.stack = contextlib.ExitStack()
        self.server: model_servers.RunningServer | None = None

    def start(self) -> None:
        environment = dict(item.split("=", 1) for item in self.options["Env"])
        [mount] = self.options["HostConfig"]["Mounts"]
        assert mount["ReadOnly"]
        # The image's entry point serves $MODEL_BASE_PATH/$MODEL_NAME.
        served = os.path.join(environment["MODEL_BASE_PATH"], environment["MODEL_NAME"])
        assert mount["Target"] == os.path.join(served, "1")
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        export = os.path.join(folder, "model")
        os.symlink(mount["Source"], export)
        self.server = self.stack.enter_context(
            model_servers.embedded_server(export, time.monotonic() + 120)
        )

    def describe(self, identifier: str) -> dict[str, Any]:
        ports = {}
        if self.server:
            for inner, url in (("8500/tcp", self.server.grpc), ("8501/tcp", self.server.rest)):
                ports[inner] = [{"HostIp": "0.0.0.0", "HostPort": url.rpartition(":")[2]}]
        return {
            "Id": identifier,
            "State": {"Status": "running" if self.server else "created"},
            "NetworkSettings": {"Ports": ports},
            "Config": {"Image": self.options["Image"], "Tty": False},
            "HostConfig": {"LogConfig": {"Type": "json-file"}},
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Engine
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        path = self._path()
        if path == "/version":
            return self._answer(200, {"ApiVersion": "1.47", "MinAPIVersion": "1.24"})
        if match := re.fullmatch(r"/containers/(\w+)/(json|stats|logs)", path):
            container = self.server.containers.get(match[1])
            if container is None:
                return self._answer(404, {"message": f"No such container: {match[1]}"})
            if match[2] == "json":
                return self._answer(200, container.describe(match[1]))
            if match[2] == "stats":
                return self._answer(200, {"memory_stats": {"usage": 512 * 2**20}})
        return self._answer(404, {"message": f"page not found: {path}"})

    def do_POST(self) -> None:
        path = self._path()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/containers/create":
            return self._create(json.loads(body))
        if path == "/images/create":
            return self._answer(404, {"message": "pull access denied, repository does not exist"})
        if match := re.fullmatch(r"/containers/(\w+)/(start|stop)", path):
            container = self.server.containers[match[1]]
            if match[2] == "start":
                container.start()
            else:
                # auto_remove: a container is removed when it stops
                self.server.containers.pop(match[1]).stack.close()
            return self._answer(204, None)
        return self._answer(404, {"message": f"page not found: {path}"})

    def _create(self, options: dict[str, Any]) -> None:
        if options["Image"] not in IMAGES:
            return self._answer(404, {"message": f"No such image: {options['Image']}"})
        identifier = f"{len(self.server.created):064x}"
        self.server.created.append(options)
        self.server.containers[identifier] = _Container(options)
        return self._answer(201, {"Id": identifier, "Warnings": []})

    def _path(self) -> str:
        return re.sub(r"^/v[\d.]+", "", self.path.partition("?")[0])

    def _answer(self, status: int, body: Any) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """Run an engine, and stop its containers at the end."""
    with Engine() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            for container in server.containers.values():
                container.stack.close()
