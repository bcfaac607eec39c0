"""Submission to Vertex AI Pipelines with Google's client, over REST."""

import datetime
import json
from functools import partial

from pipeline.config import Config
from runners.remote.platform import RunState, SubmittedRun
from runners.vertex.access import access_of

_SECONDS = 60
_PREFIX = "PIPELINE_STATE_"
_END_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "PAUSED"})


class VertexConnection:
    """A connection with credentials.

    Args:
        config: the configuration; its ``vertex`` section is used.

    Raises:
        UserError: the project or the credentials are missing.
    """

    def __init__(self, config: Config) -> None:
        self._access = access_of(config)
        self._config = config
        self._client = self._access.client("PipelineServiceClient")

    def submit(self, package: str) -> SubmittedRun:
        """Start a run.

        Args:
            package: the compiled PipelineJob as JSON.

        Raises:
            UserError: the API refuses the run or cannot be reached.
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
        with self._access.explained():
            made = self._client.create_pipeline_job(
                parent=self._access.parent,
                pipeline_job=request,
                pipeline_job_id=job_id,
                timeout=_SECONDS,
            )
        return self.find(made.name)

    def find(self, name: str) -> SubmittedRun:
        """Return a run by its resource name, which ends in the job's id."""
        section = self._config.vertex
        url = (
            f"https://console.cloud.google.com/vertex-ai/locations/{section.region}/pipelines/runs/"
            f"{name.rpartition('/')[2]}?project={section.project}"
        )
        return SubmittedRun(name, url, partial(self._state, name))

    def _state(self, name: str) -> RunState:
        with self._access.explained():
            job = self._client.get_pipeline_job(name=name, timeout=_SECONDS)
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
