"""Loopback servers for the APIs of Kubeflow Pipelines and Vertex AI, used with the real clients."""

import dataclasses
import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

JSON = dict[str, Any]


class ApiError(Exception):
    """An HTTP status other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclasses.dataclass
class Request:
    """A request of a client."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: JSON


class PlatformApi:
    """A server on a free loopback port.

    Args:
        states: the states of a run, one for each poll; the last one stays.
        refuse: the HTTP status with which runs are refused, or 0.
        tasks: the tasks of a run at every poll: name -> state.
        error: the message of a failed run.
    """

    def __init__(
        self,
        states: Sequence[str] = (),
        refuse: int = 0,
        tasks: dict[str, str] | None = None,
        error: str = "",
    ) -> None:
        self.requests: list[Request] = []
        self.runs: dict[str, JSON] = {}
        self._states = iter(states)
        self._refuse = refuse
        self._tasks = tasks or {}
        self._error = error
        self._state = ""

    def __enter__(self) -> Self:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                api._handle(self)

            def do_POST(self) -> None:
                api._handle(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            # With the default, every test would wait half a second at its end.
            target=lambda: self._server.serve_forever(poll_interval=0.02),
            daemon=True,
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def sent(self, method: str, path: str) -> Iterator[Request]:
        """Return the requests whose path ends with ``path``."""
        return (r for r in self.requests if r.method == method and r.path.endswith(path))

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        body = json.loads(handler.rfile.read(length) or b"{}")
        query = parse_qs(parts.query)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.command, parts.path, query, headers, body)
        self.requests.append(request)
        try:
            status, answer = 200, self.answer(request)
        except ApiError as error:
            status, answer = error.status, self.error(error)
        content = json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def answer(self, request: Request) -> JSON:
        """Return the body of the response."""
        raise NotImplementedError

    def error(self, error: ApiError) -> JSON:
        """Return the body of an error response."""
        return {"error": {"code": error.status, "message": str(error)}}

    def next_state(self) -> str:
        """Return the state of the run at this poll."""
        self._state = next(self._states, self._state)
        return self._state


class KubeflowApi(PlatformApi):
    """Kubeflow Pipelines' v2beta1 API: submission and polling of runs.

    It checks a pipeline as ``backend/src/apiserver/template/v2_template.go`` does.
    """

    def answer(self, request: Request) -> JSON:
        path = request.path.removeprefix("/apis/v2beta1/")
        if self._refuse in (401, 403):
            raise ApiError(self._refuse, "Unauthenticated")
        if path == "healthz":
            return {"multi_user": False}
        if path == "experiments":
            if request.method == "GET":
                return {"experiments": [], "total_size": 0}
            return {"experiment_id": "experiment-1", **request.body}
        if path == "runs":
            return self._create(request.body)
        if match := re.fullmatch(r"runs/(.+)", path):
            return self._poll(match[1])
        raise ApiError(404, path)

    def _create(self, run: JSON) -> JSON:
        if self._refuse:
            raise ApiError(self._refuse, "Failed to create a new run")
        spec = run["pipeline_spec"]
        pipeline = spec.get("pipeline_spec", spec)
        if pipeline["schemaVersion"] != "2.1.0":
            raise ApiError(400, "KFP only supports schema version 2.1.0")
        for executor in pipeline["deploymentSpec"]["executors"].values():
            if "resolver" in executor:
                raise ApiError(400, "resolver not implemented yet")
        run_id = f"run-{len(self.runs) + 1}"
        self.runs[run_id] = run
        return {"run_id": run_id, "display_name": run["display_name"]}

    def _poll(self, run_id: str) -> JSON:
        details = [
            {"display_name": name, "state": state, "run_id": run_id}
            for name, state in self._tasks.items()
        ]
        found: JSON = {
            "run_id": run_id,
            "state": self.next_state(),
            "run_details": {"task_details": details},
        }
        if self._error:
            found["error"] = {"code": 13, "message": self._error}
        return found


class VertexApi(PlatformApi):
    """Vertex AI's v1 API: submission and polling of pipeline jobs."""

    def answer(self, request: Request) -> JSON:
        if self._refuse:
            raise ApiError(self._refuse, "Permission denied on resource project.")
        match = re.fullmatch(
            r"/v1/(projects/[^/]+/locations/[^/]+/pipelineJobs)(?:/(.+))?", request.path
        )
        if match is None:
            raise ApiError(404, request.path)
        if request.method == "POST":
            [job_id] = request.query["pipelineJobId"]
            name = f"{match[1]}/{job_id}"
            self.runs[name] = request.body
            return {**request.body, "name": name, "state": "PIPELINE_STATE_PENDING"}
        return self._poll(f"{match[1]}/{match[2]}")

    def _poll(self, name: str) -> JSON:
        details = [
            {
                "taskId": str(number),
                "taskName": task,
                "state": state,
                **({"error": {"code": 9, "message": self._error}} if state == "FAILED" else {}),
            }
            for number, (task, state) in enumerate(self._tasks.items())
        ]
        return {
            **self.runs[name],
            "name": name,
            "state": f"PIPELINE_STATE_{self.next_state()}",
            "jobDetail": {"taskDetails": details},
        }


class CustomJobApi(PlatformApi):
    """Vertex AI's v1 API: custom jobs.

    Args:
        on_poll: called with the job at every poll; may do the job's work. Its result is the job's
            state, unless it is None.
        **settings: passed to ``PlatformApi``.
    """

    def __init__(
        self, *, on_poll: Callable[[JSON], str | None] | None = None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self._on_poll = on_poll
        self.cancelled: list[str] = []

    def answer(self, request: Request) -> JSON:
        if self._refuse:
            raise ApiError(self._refuse, "Permission denied on resource project.")
        match = re.fullmatch(
            r"/v1/(projects/[^/]+/locations/[^/]+/customJobs)(?:/(\d+)(:cancel)?)?", request.path
        )
        if match is None:
            raise ApiError(404, request.path)
        name = f"{match[1]}/{match[2] or 4711 + len(self.runs)}"
        if match[3]:
            self.cancelled.append(name)
            return {}
        if request.method == "POST":
            self.runs[name] = request.body
            return {**request.body, "name": name, "state": "JOB_STATE_PENDING"}
        state = self._on_poll(self.runs[name]) if self._on_poll else None
        state = state or self.next_state()
        found = {**self.runs[name], "name": name, "state": f"JOB_STATE_{state}"}
        if self._error:
            found["error"] = {"code": 9, "message": self._error}
        return found
