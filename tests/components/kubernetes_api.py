"""Kubernetes API server for tests: answers on loopback the calls of TFX's ``KubernetesRunner``.

A pod of TensorFlow Serving's image is the embedded model server on its own address in 127.0.0.0/8,
with the image's ports. The client is the real ``kubernetes`` package.
"""

import contextlib
import http.server
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

from components.infra_validation.child_process import environment, kill_group

NAMESPACE = "kubeflow"
PIPELINE_POD = "pipeline-pod"
POD_ADDRESS = "127.0.0.77"

_SERVE = """
import sys
from serving.server import model_server
from serving.server.settings import ServerSettings
sys.exit(model_server.run(ServerSettings(
    host=sys.argv[1], model_name=sys.argv[2], model_base_path=sys.argv[3], max_num_load_retries=0,
    drain_seconds=1,
)))
"""


class Api(http.server.ThreadingHTTPServer):
    """The API server; ``pods`` holds the existing pods by name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pods: dict[str, dict[str, Any]] = {PIPELINE_POD: _pipeline_pod()}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.created: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def create(self, pod: dict[str, Any]) -> dict[str, Any]:
        self.created.append(pod)
        name = pod["metadata"]["generateName"] + f"{len(self.created)}"
        [container] = pod["spec"]["containers"]
        variables = {item["name"]: item.get("value", "") for item in container["env"]}
        base_path = f"{variables['MODEL_BASE_PATH']}/{variables['MODEL_NAME']}"
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-c", _SERVE, POD_ADDRESS, variables["MODEL_NAME"], base_path],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        pod["metadata"] |= {"name": name, "namespace": NAMESPACE, "uid": name}
        pod["status"] = {"phase": "Running", "podIP": POD_ADDRESS}
        self.pods[name] = pod
        return pod

    def delete(self, name: str) -> dict[str, Any]:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        kill_group(process)
        return self.pods.pop(name)


def _pipeline_pod() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": PIPELINE_POD, "namespace": NAMESPACE, "uid": "1"},
        "spec": {
            "serviceAccountName": "pipeline-runner",
            "containers": [{"name": "main", "image": "bert", "volumeMounts": []}],
        },
        "status": {"phase": "Running"},
    }


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Api
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        match = self._pod()
        if match is None or match[1] not in self.server.pods:
            return self._answer(404, {"kind": "Status", "code": 404, "message": "not found"})
        return self._answer(200, self.server.pods[match[1]])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(201, self.server.create(body))

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match = self._pod()
        assert match is not None
        self._answer(200, self.server.delete(match[1]))

    def _pod(self) -> re.Match[str] | None:
        pattern = rf"/api/v1/namespaces/{NAMESPACE}/pods/([\w-]+)"
        return re.fullmatch(pattern, self.path.partition("?")[0])

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def api() -> Iterator[Api]:
    """Run an API server, and delete its pods at the end."""
    with Api() as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
            for name in list(server.processes):
                server.delete(name)
