"""Submission of runs through Airflow 2's stable REST API."""

import datetime
import os
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from modules.contract.addresses import is_loopback
from modules.contract.errors import UserError
from pipeline.config import Config
from runners.remote.platform import RunState, SubmittedRun

USERNAME_VARIABLE = "AIRFLOW_USERNAME"
PASSWORD_VARIABLE = "AIRFLOW_PASSWORD"

_SECONDS = 30.0


class AirflowConnection:
    """A checked connection to the web server.

    Args:
        config: the configuration; ``airflow.url`` must be set.

    Raises:
        UserError: URL or credentials are missing, the web server does not answer, or the DAG cannot
            run.
    """

    def __init__(self, config: Config) -> None:
        self._url = config.airflow.url.rstrip("/")
        self._dag_id = config.pipeline.name
        if not self._url:
            raise UserError(
                "airflow.url is empty; set it to the URL of Airflow's web server: "
                "--set airflow.url=http://127.0.0.1:8080"
            )
        user, password = os.environ.get(USERNAME_VARIABLE), os.environ.get(PASSWORD_VARIABLE)
        if not user or not password:
            raise UserError(f"set {USERNAME_VARIABLE} and {PASSWORD_VARIABLE} for {self._url}")
        parts = urlsplit(self._url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise UserError(
                f"airflow.url: must use https, because a password is sent; received {self._url}"
            )
        self._client = httpx.Client(
            base_url=f"{self._url}/api/v1", auth=(user, password), timeout=_SECONDS
        )
        self._dag = self._deployed_dag()

    def submit(self, package: str) -> SubmittedRun:
        """Start a run of Airflow's DAG, if it is the same as the compiled one.

        Args:
            package: the text of the compiled DAG file.

        Raises:
            UserError: Airflow's DAG file differs, or Airflow refuses or cannot be reached.
        """
        source = self.request(
            "GET", f"/dagSources/{self._dag['file_token']}", headers={"Accept": "application/json"}
        )["content"]
        if source.strip() != package.strip():
            raise UserError(
                f"airflow.url: Airflow's DAG {self._dag_id}, {self._dag['fileloc']}, was compiled "
                f"from different settings or code; {self._compile_hint()}"
            )
        run_id = f"bert__{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S-%f}"
        self.request("POST", f"/dags/{self._dag_id}/dagRuns", json={"dag_run_id": run_id})
        return self.find(run_id)

    def find(self, name: str) -> SubmittedRun:
        """Return a run of the DAG by its id."""
        url = f"{self._url}/dags/{self._dag_id}/grid?dag_run_id={quote(name)}"
        return SubmittedRun(name, url, partial(self._state, name))

    def request(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """Call the API and return the JSON of the response.

        Raises:
            UserError: the API cannot be reached or refuses the request.
        """
        try:
            answer = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise UserError(f"airflow.url: {self._url} cannot be reached: {error}") from error
        if answer.status_code in (401, 403):
            raise UserError(
                f"airflow.url: {self._url} rejected the credentials ({answer.status_code}); check "
                f"{USERNAME_VARIABLE} and {PASSWORD_VARIABLE}, and that [api] auth_backends "
                "includes airflow.api.auth.backend.basic_auth"
            )
        if answer.status_code == 404:
            raise UserError(f"airflow.url: {self._url} has no {path}; {self._compile_hint()}")
        if answer.is_error:
            words = answer.text[:500].replace("\n", " ")
            raise UserError(f"airflow.url: {self._url} returned {answer.status_code}: {words}")
        return dict(answer.json())

    def _state(self, run_id: str) -> RunState:
        path = f"/dags/{self._dag_id}/dagRuns/{quote(run_id, safe='')}"
        state = str(self.request("GET", path)["state"])
        found = self.request("GET", f"{path}/taskInstances")["task_instances"]
        tasks = {task["task_id"]: task["state"] for task in found if task["state"]}
        failed = sorted(name for name, word in tasks.items() if word == "failed")
        return RunState(
            state=state,
            finished=state in ("success", "failed"),
            succeeded=state == "success",
            tasks=tasks,
            error=f"{', '.join(failed)} failed" if failed else "",
        )

    def _deployed_dag(self) -> dict[str, Any]:
        dag = self.request("GET", f"/dags/{self._dag_id}")
        if dag.get("has_import_errors"):
            raise UserError(
                f"airflow.url: Airflow cannot import {dag['fileloc']}; run "
                "airflow dags list-import-errors to see why"
            )
        if dag["is_paused"]:
            raise UserError(
                f"airflow.url: the DAG {self._dag_id} is paused, so a run would not start; first "
                f"run airflow dags unpause {self._dag_id}"
            )
        return dag

    def _compile_hint(self) -> str:
        return (
            "write the DAG file to Airflow's DAG folder and wait until Airflow has read it: "
            f"bert compile --runner airflow -o DAGS_FOLDER/{self._dag_id}.py"
        )
