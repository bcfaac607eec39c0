"""Submission to Kubeflow Pipelines with its client, kfp."""

import contextlib
import io
import os
import socket
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from modules.contract.addresses import is_loopback
from modules.contract.errors import UserError
from pipeline.config import Config
from runners.remote.platform import RunState, SubmittedRun

TOKEN_VARIABLE = "KUBEFLOW_TOKEN"

_CONNECT_SECONDS = 10
_END_STATES = frozenset({"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"})


class KubeflowConnection:
    """A checked connection.

    Args:
        config: the configuration; ``kubeflow.host`` must be set.

    Raises:
        UserError: the host is missing or does not answer, the token would be sent over plain HTTP,
            or the credentials are rejected.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._host = config.kubeflow.host
        if not self._host:
            raise UserError(
                "kubeflow.host is empty; set it to the API's URL, or forward its port with "
                "kubectl port-forward -n kubeflow svc/ml-pipeline 8888 and "
                "--set kubeflow.host=http://127.0.0.1:8888"
            )
        token = os.environ.get(TOKEN_VARIABLE, "")
        parts = urlsplit(self._host)
        if token and parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise UserError(
                f"kubeflow.host: must use https if {TOKEN_VARIABLE} is set; received {self._host}"
            )
        self._reach(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        self._check_health(token)
        with self._explained(), _quiet():
            import kfp

            self._client = kfp.Client(
                host=self._host,
                existing_token=token or None,
                namespace=config.kubeflow.namespace or "kubeflow",
                ssl_ca_cert=config.kubeflow.ca_file or None,
            )

    def submit(self, package: str) -> SubmittedRun:
        """Start a run.

        Args:
            package: the compiled YAML.

        Raises:
            UserError: the API refuses the run or cannot be reached.
        """
        config = self._config
        with tempfile.TemporaryDirectory() as folder, self._explained(), _quiet():
            file = Path(folder) / f"{config.pipeline.name}.yaml"
            file.write_text(package, "utf-8")
            run = self._client.create_run_from_pipeline_package(
                str(file),
                experiment_name=config.kubeflow.experiment or config.pipeline.name,
                namespace=config.kubeflow.namespace or None,
                pipeline_root=config.pipeline_root(),
                service_account=config.kubeflow.service_account or None,
            )
        return self.find(run.run_id)

    def find(self, name: str) -> SubmittedRun:
        """Return a run by its id."""
        url = f"{self._host}/#/runs/details/{name}"
        return SubmittedRun(name, url, partial(self._state, name))

    def _state(self, run_id: str) -> RunState:
        with self._explained():
            run = self._client.get_run(run_id)
        details = (run.run_details.task_details if run.run_details else None) or []
        tasks = {task.display_name: task.state for task in details if task.state}
        error = run.error.message if run.error else ""
        failed = [name for name, state in tasks.items() if state == "FAILED"]
        state = run.state or "PENDING"
        return RunState(
            state=state,
            finished=state in _END_STATES,
            succeeded=state == "SUCCEEDED",
            tasks=tasks,
            error=error or (f"{', '.join(failed)} failed" if failed else ""),
        )

    def _reach(self, host: str, port: int) -> None:
        """Check that the port is open, because the client would wait for minutes."""
        try:
            socket.create_connection((host, port), _CONNECT_SECONDS).close()
        except OSError as error:
            raise UserError(
                f"kubeflow.host: nothing answers at {self._host} ({error}); check the host, or "
                "forward the port: kubectl port-forward -n kubeflow svc/ml-pipeline 8888"
            ) from error

    def _check_health(self, token: str) -> None:
        """Check the API's health once; kfp.Client tries five times and hides the response."""
        with self._explained(), _quiet():
            import kfp_server_api  # type: ignore[import-untyped]

            configuration = kfp_server_api.Configuration(host=self._host.rstrip("/"))
            if self._config.kubeflow.ca_file:
                configuration.ssl_ca_cert = self._config.kubeflow.ca_file
            if token:
                configuration.api_key["authorization"] = token
                configuration.api_key_prefix["authorization"] = "Bearer"
            api = kfp_server_api.HealthzServiceApi(kfp_server_api.ApiClient(configuration))
            api.healthz_service_get_healthz(_request_timeout=30)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the client's errors into one line."""
        import urllib3
        from kfp_server_api.exceptions import ApiException  # type: ignore[import-untyped]

        try:
            yield
        except ApiException as error:
            if error.status in (401, 403):
                raise UserError(
                    f"kubeflow.host: {self._host} rejected the credentials ({error.status} "
                    f"{error.reason}); set {TOKEN_VARIABLE} to the token of an account that may "
                    "create runs in kubeflow.namespace"
                ) from error
            words = f"{error.body or error.reason}"[:500]
            raise UserError(
                f"kubeflow.host: {self._host} returned {error.status}: {words}"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise UserError(f"kubeflow.host: {self._host} cannot be reached: {error}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the client's notebook links and version warnings."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
