"""Several machines of Vertex AI for one node: a custom job of worker pools that the node starts.

The container of a Trainer whose machines train together, or of a Tuner whose machines share a
search, gets ``--vertex_custom_job`` and computes nothing: it submits a CustomJob whose containers
run the same command on the same ExecutorInput without that flag, waits for its end, and fails with
its error. Pool 0 is the chief, pool 1 the workers; Vertex mounts ``/gcs/`` and sets ``TF_CONFIG``
in each (https://cloud.google.com/vertex-ai/docs/training/distributed-training), from which
``modules.fit.multi_worker`` and ``modules.search.parallel_trials`` know the others.
"""

import contextlib
import dataclasses
import json
import logging
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modules.contract.errors import UserError
from pipeline.config import Config
from runners.remote import pipeline_spec
from runners.vertex.access import VertexAccess, access_of, check_accelerator, machine_spec

FLAG = "--vertex_custom_job"
#: The nodes that can have several machines, and the keys that say how many.
NODES = {pipeline_spec.TRAINER: "training_workers", pipeline_spec.TUNER: "tuning_workers"}
_PREFIX = "JOB_STATE_"
_END_STATES = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})
_POLL_SECONDS = 10.0
_SECONDS = 60  # limit on one request, and on its repetitions while the API is away: 10 times that
_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CustomJobSettings:
    """What the custom job is made of, beside its command.

    Attributes:
        access: where the API is.
        node: whose job it is.
        name: shown in the console.
        image: of the containers.
        workers: machines beside the chief.
        machine_type: of each machine.
        accelerator: of each machine, or "".
        service_account: that the containers run as, or "" for the project's default.
        network: that they are peered with, or "".
        labels: of the job.
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
        """As text, the same for the same settings."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "CustomJobSettings":
        """The opposite of ``to_json``."""
        values = json.loads(text)
        return cls(**{**values, "access": VertexAccess(**values["access"])})


def workers(config: Config, node: str) -> int:
    """How many machines the config gives a node beside the chief; 0: it needs no job."""
    if node == pipeline_spec.TUNER and not config.tuner.enabled:
        return 0
    return int(getattr(config.vertex, NODES[node])) if node in NODES else 0


def check(config: Config) -> None:
    """Refuse settings of such jobs that cannot work. Imports nothing slow.

    Raises:
        UserError: names the key, what is legal and what to type.
    """
    for node, key in NODES.items():
        if workers(config, node):
            _check_job(config, node, f"vertex.{key}")
    if config.vertex.training_workers and config.trainer.xla:
        raise UserError(
            "trainer.xla: legal is false where vertex.training_workers is set, for XLA compiles no "
            "step of several workers; received true; --set trainer.xla=false"
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
            f"resources.accelerator_count: legal is 1 where {key} is set, for each worker has one; "
            f"received {accelerator['count']}; add workers instead"
        )


def settings_of(config: Config, node: str, image: str) -> CustomJobSettings:
    """The settings of a checked config.

    Args:
        config: the resolved configuration.
        node: one of ``NODES``.
        image: the node's.
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
    """The CustomJob as the API's message.

    Args:
        settings: of the job.
        arguments: of the entrypoint in every container.

    Raises:
        UserError: Vertex has no such accelerator.
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
            # A lost worker ends the others; all start again, from the last checkpoint.
            scheduling=api.Scheduling(restart_job_on_worker_restart=True),
            service_account=settings.service_account,
            network=settings.network,
        ),
    )


def run_elsewhere(text: str, arguments: Sequence[str], poll_seconds: float = _POLL_SECONDS) -> None:
    """Run a command on the machines of a custom job and wait for its end.

    Args:
        text: ``CustomJobSettings`` as JSON.
        arguments: of the entrypoint, with the flag.
        poll_seconds: between polls of the job.

    Raises:
        UserError: the job cannot be submitted, or it does not succeed.
        SystemExit: this process was told to end; the job is cancelled.
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
        except BaseException:  # told to end, or the API is lost: leave no machines behind
            _cancel(client, name)
            raise
    state = end.state.name.removeprefix(_PREFIX)
    if state != "SUCCEEDED":
        raise UserError(
            f"{settings.node}: the custom job {name} ended as {state}: "
            f"{end.error.message or 'no reason given'}; its workers' logs are in Cloud Logging "
            f"under resource.labels.job_id={name.rpartition('/')[2]}"
        )


def without_flag(arguments: Sequence[str]) -> list[str]:
    """The command line of the job's containers: the same without the flag and its value."""
    at = list(arguments).index(FLAG)
    return [*arguments[:at], *arguments[at + 2 :]]


def _wait(client: Any, name: str, poll_seconds: float) -> Any:
    """The job at its end; each new state is logged."""
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
    """Cancel a job; why that fails is logged, for something else has failed before."""
    try:
        client.cancel_custom_job(name=name, timeout=_SECONDS)
        _say(f"{name}: cancelled")
    except Exception:
        _LOG.exception("%s could not be cancelled and may go on running", name)


def _say(line: str) -> None:
    print(line, flush=True)


class _Ending:
    """Turns SIGTERM into an exception, but not before ``begin``: until then nothing may be lost."""

    def __init__(self) -> None:
        self._begun = False
        self._signal = 0

    def begin(self) -> None:
        """Raise from now on, and at once if the signal has come."""
        self._begun = True
        if self._signal:
            raise SystemExit(128 + self._signal)

    def handle(self, number: int, _: object) -> None:
        """Take the signal."""
        self._signal = number
        if self._begun:
            raise SystemExit(128 + number)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[_Ending]:
    """Vertex sends SIGTERM to a node that is cancelled."""
    ending = _Ending()
    before = signal.signal(signal.SIGTERM, ending.handle)
    try:
        yield ending
    finally:
        signal.signal(signal.SIGTERM, before)
