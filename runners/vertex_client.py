"""Submits to Vertex AI Pipelines through Google's own client, over REST."""

import contextlib
import datetime
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from modules.errors import UserError
from pipeline.config import Config
from runners.remote_runners import RunState, SubmittedRun

_SECONDS = 60
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_PREFIX = "PIPELINE_STATE_"
_END_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "PAUSED"})
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class VertexConnection:
    """A connection with credentials.

    Args:
        config: with the section ``vertex``.

    Raises:
        UserError: no project or no credentials.
    """

    def __init__(self, config: Config) -> None:
        section = config.vertex
        if not section.project:
            raise UserError("vertex.project is empty; --set vertex.project=PROJECT")
        self._config = config
        self._endpoint = section.api_endpoint or f"{section.region}-aiplatform.googleapis.com"
        credentials = self._credentials()
        from google.cloud import aiplatform_v1

        self._client = aiplatform_v1.PipelineServiceClient(
            credentials=credentials,
            transport="rest",
            client_options={"api_endpoint": self._endpoint},
        )

    def submit(self, package: str) -> SubmittedRun:
        """Start a run.

        Args:
            package: the compiled PipelineJob.
        """
        from google.cloud import aiplatform_v1

        section = self._config.vertex
        job = json.loads(package)
        name = job["pipelineSpec"]["pipelineInfo"]["name"]
        now = datetime.datetime.now(datetime.UTC)
        job_id = f"{name}-{now:%Y%m%d%H%M%S}-{now.microsecond // 1000:03}"
        request = aiplatform_v1.PipelineJob(
            display_name=job["displayName"],
            pipeline_spec=job["pipelineSpec"],
            labels=job["labels"],
            runtime_config={
                "gcs_output_directory": job["runtimeConfig"]["gcsOutputDirectory"],
                "failure_policy": aiplatform_v1.PipelineFailurePolicy(2),  # fail fast
            },
            service_account=section.service_account,
            network=section.network,
        )
        with self._explained():
            made = self._client.create_pipeline_job(
                parent=f"projects/{section.project}/locations/{section.region}",
                pipeline_job=request,
                pipeline_job_id=job_id,
                timeout=_SECONDS,
            )
        return self.find(made.name)

    def find(self, name: str) -> SubmittedRun:
        """A run by its resource name, which ends in the job's id."""
        section = self._config.vertex
        url = (
            f"https://console.cloud.google.com/vertex-ai/locations/{section.region}/pipelines/runs/"
            f"{name.rpartition('/')[2]}?project={section.project}"
        )
        return VertexRun(self, name, url)

    def get_job(self, name: str) -> Any:
        """The API's record of a run."""
        with self._explained():
            return self._client.get_pipeline_job(name=name, timeout=_SECONDS)

    def _credentials(self) -> Any:
        import google.auth
        from google.auth.credentials import AnonymousCredentials

        parts = urlsplit(self._endpoint)
        if parts.scheme == "http":  # a stand-in on this machine; credentials never go over HTTP
            if parts.hostname not in _LOOPBACK:
                raise UserError(
                    "vertex.api_endpoint: legal are https and, on this machine alone, http; "
                    f"received {self._endpoint}"
                )
            return AnonymousCredentials()
        try:
            credentials, _ = google.auth.default(scopes=[_SCOPE])
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise UserError(
                "vertex needs Google credentials and there are none; "
                "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS to "
                "a service account's key file"
            ) from error
        return credentials

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """The client's errors as one line."""
        import requests
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import GoogleAuthError

        section = self._config.vertex
        try:
            yield
        except GoogleAPICallError as error:
            raise UserError(
                f"Vertex AI at {self._endpoint} answers {error.code}: {error.message}; project "
                f"{section.project}, region {section.region}"
            ) from error
        except GoogleAuthError as error:
            raise UserError(
                f"vertex: the credentials are refused ({error}); "
                "gcloud auth application-default login"
            ) from error
        except requests.RequestException as error:
            raise UserError(
                f"vertex.region: {self._endpoint} cannot be reached ({error}); is "
                f"{section.region} the right region, and the network up?"
            ) from error


class VertexRun:
    """A run that was submitted."""

    def __init__(self, connection: VertexConnection, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self._connection = connection

    def state(self) -> RunState:
        """Ask how it stands."""
        job = self._connection.get_job(self.name)
        state = job.state.name.removeprefix(_PREFIX)
        tasks = {task.task_name: task.state.name for task in job.job_detail.task_details}
        failures = [
            f"{task.task_name}: {task.error.message}"
            for task in job.job_detail.task_details
            if task.state.name == "FAILED" and task.error.message
        ]
        return RunState(
            state=state,
            finished=state in _END_STATES,
            succeeded=state == "SUCCEEDED",
            tasks=tasks,
            error="; ".join([job.error.message, *failures] if job.error.message else failures),
        )
