"""Custom jobs that run one node on several Vertex AI machines.

With ``--vertex_custom_job``, the container of a distributed Trainer or Tuner computes nothing
itself. It submits a CustomJob whose containers run the same command on the same ExecutorInput
without that flag, waits for the job to finish, and fails with the job's error. Pool 0 is the chief,
pool 1 the workers. In each container Vertex mounts ``/gcs/`` and sets ``TF_CONFIG``
(https://cloud.google.com/vertex-ai/docs/training/distributed-training), from which
``modules.fit.multi_worker`` and ``modules.search.parallel_trials`` find the other machines.
"""

import contextlib
import dataclasses
import json
import logging
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from modules.contract.errors import UserError
from pipeline.config import Config
from runners.remote import pipeline_spec
from runners.vertex.access import VertexAccess, access_of, check_accelerator, machine_spec

FLAG = "--vertex_custom_job"
#: Nodes that can run on several machines -> the key in ``vertex`` with the number of workers.
NODES = {pipeline_spec.TRAINER: "training_workers", pipeline_spec.TUNER: "tuning_workers"}
_PREFIX = "JOB_STATE_"
_END_STATES = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})
_POLL_SECONDS = 10.0
_SECONDS = 60  # limit on one request; retries while the API is unreachable: 10 times that
_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CustomJobSettings:
    """Settings of a custom job, except for its command.

    Attributes:
        access: project, region and host of the API.
        node: the node that the job runs.
        name: the name shown in the console.
        image: the image of the containers.
        workers: the number of machines in addition to the chief.
        machine_type: the type of each machine.
        accelerator: the accelerator of each machine, or "".
        service_account: the account of the containers, or "" for the project's default.
        network: the network to peer with, or "".
        labels: the labels of the job.
    """

    access: VertexAccess
    node: str
    name: str
    image: str
    workers: int
    machine_type: str
    accelerator: str = ""
    service_account: str = ""
    network: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """Return the settings as text; equal settings give equal text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "CustomJobSettings":
        """Return the settings from the text that ``to_json`` returned."""
        return TypeAdapter(cls).validate_json(text)


def workers(config: Config, node: str) -> int:
    """Return the number of machines in addition to the chief; 0 if the node needs no job."""
    if node == pipeline_spec.TUNER and not config.tuner.enabled:
        return 0
    return int(getattr(config.vertex, NODES[node])) if node in NODES else 0


def check(config: Config) -> None:
    """Refuse custom job settings that cannot work, without slow imports.

    Raises:
        UserError: a setting is wrong; names the key, the allowed values and the fix.
    """
    for node, key in NODES.items():
        if workers(config, node):
            _check_job(config, node, f"vertex.{key}")
    if config.vertex.training_workers and config.trainer.xla:
        raise UserError(
            "trainer.xla: must be false if vertex.training_workers is set, because XLA cannot "
            "compile steps of several workers; received true; --set trainer.xla=false"
        )


def _check_job(config: Config, node: str, key: str) -> None:
    access_of(config)
    if not config.vertex.training_machine_type:
        raise UserError(
            f"vertex.training_machine_type is empty and {key} is {workers(config, node)}; "
            "--set vertex.training_machine_type=n1-standard-8"
        )
    accelerator = pipeline_spec.resources(config, node).get("accelerator")
    if accelerator and accelerator["count"] != "1":
        raise UserError(
            f"resources.accelerator_count: must be 1 if {key} is set, because each worker has one; "
            f"received {accelerator['count']}; add workers instead"
        )


def settings_of(config: Config, node: str, image: str) -> CustomJobSettings:
    """Return the settings that a checked config gives a node.

    Args:
        config: the resolved configuration.
        node: one of ``NODES``.
        image: the node's image.

    Raises:
        UserError: ``vertex.project`` is empty.
    """
    section = config.vertex
    resources = pipeline_spec.resources(config, node)
    return CustomJobSettings(
        access=access_of(config),
        node=node,
        name=f"{config.pipeline.name}-{node.lower()}",
        image=image,
        workers=workers(config, node),
        machine_type=section.training_machine_type,
        accelerator=resources.get("accelerator", {}).get("type", ""),
        service_account=section.service_account,
        network=section.network,
        labels=section.labels,
    )


def custom_job(settings: CustomJobSettings, arguments: Sequence[str]) -> Any:
    """Return the CustomJob as the API's message.

    Args:
        settings: the job's settings.
        arguments: the entrypoint's arguments, the same in every container.

    Raises:
        UserError: Vertex AI does not have the accelerator.
    """
    from google.cloud import aiplatform_v1 as api

    check_accelerator("resources.accelerator", settings.accelerator)
    machine = machine_spec(settings.machine_type, settings.accelerator)
    pools = [
        api.WorkerPoolSpec(
            machine_spec=api.MachineSpec(**machine),
            replica_count=replicas,
            container_spec=api.ContainerSpec(
                image_uri=settings.image, command=pipeline_spec.COMMAND, args=list(arguments)
            ),
        )
        for replicas in (1, settings.workers)
    ]
    return api.CustomJob(
        display_name=settings.name,
        labels=dict(settings.labels),
        job_spec=api.CustomJobSpec(
            worker_pool_specs=pools,
            # If a worker is lost, the others stop, and all restart from the last checkpoint.
            scheduling=api.Scheduling(restart_job_on_worker_restart=True),
            service_account=settings.service_account,
            network=settings.network,
        ),
    )


def run_elsewhere(text: str, arguments: Sequence[str], poll_seconds: float = _POLL_SECONDS) -> None:
    """Run a command on the machines of a custom job and wait until it finishes.

    Args:
        text: ``CustomJobSettings`` as JSON.
        arguments: the entrypoint's arguments, including the flag.
        poll_seconds: seconds between polls of the job.

    Raises:
        UserError: the job cannot be submitted or does not succeed.
        SystemExit: this process received SIGTERM; the job is cancelled.
    """
    settings = CustomJobSettings.from_json(text)
    job = custom_job(settings, without_flag(arguments))
    client = settings.access.client("JobServiceClient")
    with _ended_by_signals() as ending, settings.access.explained():
        name = client.create_custom_job(
            parent=settings.access.parent, custom_job=job, timeout=_SECONDS
        ).name
        try:
            ending.begin()
            _say(f"{name}: submitted, 1 chief and {settings.workers} workers")
            end = _wait(client, name, poll_seconds)
        except BaseException:  # SIGTERM, or the API is unreachable: leave no machines running
            _cancel(client, name)
            raise
    state = end.state.name.removeprefix(_PREFIX)
    if state != "SUCCEEDED":
        raise UserError(
            f"{settings.node}: the custom job {name} ended as {state}: "
            f"{end.error.message or 'no reason given'}; find its workers' logs in Cloud Logging "
            f"under resource.labels.job_id={name.rpartition('/')[2]}"
        )


def without_flag(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without the flag and its value, for the job's containers."""
    at = list(arguments).index(FLAG)
    return [*arguments[:at], *arguments[at + 2 :]]


def _wait(client: Any, name: str, poll_seconds: float) -> Any:
    """Wait for the job to finish, print each new state, and return the job."""
    from google.api_core.retry import Retry

    known = ""
    while True:
        job = client.get_custom_job(name=name, timeout=_SECONDS, retry=Retry(timeout=10 * _SECONDS))
        state = job.state.name.removeprefix(_PREFIX)
        if state != known:
            known = state
            _say(f"{name}: {state}")
        if state in _END_STATES:
            return job
        time.sleep(poll_seconds)


def _cancel(client: Any, name: str) -> None:
    """Cancel a job. Log a failure to do so, because an earlier error is being raised."""
    try:
        client.cancel_custom_job(name=name, timeout=_SECONDS)
        _say(f"{name}: cancelled")
    except Exception:
        _LOG.exception("%s could not be cancelled and may still be running", name)


def _say(line: str) -> None:
    print(line, flush=True)


class _Ending:
    """A handler that turns SIGTERM into an exception, but not before ``begin``.

    Before that the job's name is not known, so it could not be cancelled.
    """

    def __init__(self) -> None:
        self._begun = False
        self._signal = 0

    def begin(self) -> None:
        """Raise from now on, and immediately if the signal has arrived.

        Raises:
            SystemExit: the signal has arrived.
        """
        self._begun = True
        if self._signal:
            raise SystemExit(128 + self._signal)

    def handle(self, number: int, _: object) -> None:
        """Handle the signal.

        Raises:
            SystemExit: ``begin`` was called before.
        """
        self._signal = number
        if self._begun:
            raise SystemExit(128 + number)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[_Ending]:
    """Handle SIGTERM, which Vertex sends to a cancelled node."""
    ending = _Ending()
    before = signal.signal(signal.SIGTERM, ending.handle)
    try:
        yield ending
    finally:
        signal.signal(signal.SIGTERM, before)
