"""Model servers that the InfraValidator puts a candidate behind.

* ``process``: the embedded server, on this machine.
* ``docker``: stock TensorFlow Serving in a container, by TFX's ``LocalDockerRunner``.
* ``kubernetes``: stock TensorFlow Serving in a pod beside the pipeline's, by TFX's
  ``KubernetesRunner``; works inside a Kubeflow Pipelines pod alone.

Each is a context manager: it yields the server's addresses and leaves nothing behind. What the
user has to put right is a ``UserError``; a server that does not come up with this model is a
``ModelError``.
"""

import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from components.infra_validation import embedded_process
from modules.contract.errors import ModelError, UserError, one_line

PROCESS = "process"
DOCKER = "docker"
KUBERNETES = "kubernetes"
SERVERS = (PROCESS, DOCKER, KUBERNETES)

MODEL_NAME = embedded_process.MODEL_NAME
_REST_PORT = 8501
#: ``name:tag`` or ``name@sha256:digest``; TFX blesses without a look where it is given neither.
_IMAGE = re.compile(r"(?P<name>[^@\s]+?)(:(?P<tag>[\w][\w.-]*)|@(?P<digest>sha256:[0-9a-f]{64}))")


@dataclasses.dataclass(frozen=True)
class RunningServer:
    """A server that listens; its model may still be loading.

    Attributes:
        rest: ``http://host:port``.
        grpc: ``grpc://host:port``.
        peak_memory_mb: greatest memory of the server so far, in MiB; None where nobody can tell.
    """

    rest: str
    grpc: str
    peak_memory_mb: Callable[[], float | None] = lambda: None


def parse_image(image: str) -> dict[str, str]:
    """An image reference as TFX's ``TensorFlowServing`` wants it.

    Returns:
        ``image_name`` and either ``tag`` or ``digest``.

    Raises:
        UserError: it has neither tag nor digest, or the tag is "latest".
    """
    match = _IMAGE.fullmatch(image)
    if match is None or match["tag"] == "latest":
        raise UserError(
            "infra_validator.image needs a fixed tag or a digest, so that what was validated is "
            f"what serves; got {image!r}; try tensorflow/serving:2.19.1"
        )
    key = "tag" if match["tag"] else "digest"
    return {"image_name": match["name"], key: match[key]}


@contextlib.contextmanager
def embedded_server(export: str, deadline: float) -> Iterator[RunningServer]:
    """Serve ``export``, a local folder, in a fresh process, or in the one that was prepared.

    Args:
        export: folder of the SavedModel.
        deadline: ``time.monotonic()`` by which the server must listen.
    """
    process = embedded_process.take()
    try:
        addresses = process.serve(export, deadline)
        yield RunningServer(**addresses, peak_memory_mb=process.peak_memory_mb)
    finally:
        process.end()


def _container_memory_mb(container: Any) -> float | None:
    """What Docker says that the container uses, in MiB; its greatest use where it keeps that."""
    statistics = container.stats(stream=False).get("memory_stats", {})
    found = statistics.get("max_usage", statistics.get("usage"))
    return None if found is None else found / 2**20


@contextlib.contextmanager
def docker_server(
    export: str, image: str, deadline: float, docker_host: str = ""
) -> Iterator[RunningServer]:
    """Serve ``export``, a folder that the Docker engine sees, by stock TensorFlow Serving.

    Args:
        export: folder of the SavedModel.
        image: of TensorFlow Serving, with tag or digest.
        deadline: ``time.monotonic()`` by which the container must run.
        docker_host: the engine's URL; empty is Docker's default socket.
    """
    from docker import errors as docker_errors
    from tfx.components.infra_validator.model_server_runners import local_docker_runner

    spec = _serving_spec()
    spec.local_docker.client_base_url = docker_host
    try:
        runner = local_docker_runner.LocalDockerRunner(export, _binary(image), spec)
        with _running(runner, deadline) as grpc_address:
            # TFX asks the container for its gRPC port alone.
            port = local_docker_runner._find_host_port(runner._container.ports, _REST_PORT)
            host = grpc_address.rpartition(":")[0]
            yield RunningServer(
                f"http://{host}:{port}",
                f"grpc://{grpc_address}",
                lambda: _container_memory_mb(runner._container),
            )
    except docker_errors.DockerException as error:
        raise UserError(
            f"infra_validator.server = docker: {one_line(error)}; is the engine running, and can "
            f"it pull {image}? --set infra_validator.server=process needs no Docker"
        ) from error


@contextlib.contextmanager
def kubernetes_server(
    export: str, image: str, deadline: float, service_account: str = ""
) -> Iterator[RunningServer]:
    """Serve ``export`` by stock TensorFlow Serving in a pod of this pipeline's namespace.

    Args:
        export: URI or path on a mounted volume, that ends in ``candidate/VERSION``: TensorFlow
            Serving is told the folder above.
        image: of TensorFlow Serving, with tag or digest.
        deadline: ``time.monotonic()`` by which the pod must run.
        service_account: of the pod; empty takes the pipeline's own.
    """
    from kubernetes.client import rest
    from kubernetes.config import ConfigException
    from tfx.components.infra_validator.model_server_runners import kubernetes_runner

    spec = _serving_spec()
    spec.kubernetes.service_account_name = service_account
    # Kubernetes ends the pod by itself, should this process be killed.
    spec.kubernetes.active_deadline_seconds = max(1, int(deadline - time.monotonic())) + 60
    try:
        runner = kubernetes_runner.KubernetesRunner(export, _binary(image), spec)
        with _running(runner, deadline) as grpc_address:
            host = grpc_address.rpartition(":")[0]
            yield RunningServer(f"http://{host}:{_REST_PORT}", f"grpc://{grpc_address}")
    except (NotImplementedError, ConfigException, rest.ApiException) as error:
        raise UserError(
            f"infra_validator.server = kubernetes: {one_line(error)}; it works in a pod of "
            "Kubeflow Pipelines; elsewhere --set infra_validator.server=process"
        ) from error


def _serving_spec() -> Any:
    from tfx.proto import infra_validator_pb2

    return infra_validator_pb2.ServingSpec(model_name=MODEL_NAME)


def _binary(image: str) -> Any:
    from tfx.components.infra_validator import serving_bins

    return serving_bins.TensorFlowServing(model_name=MODEL_NAME, **parse_image(image))


@contextlib.contextmanager
def _running(runner: Any, deadline: float) -> Iterator[str]:
    """Start a TFX runner; yields its gRPC address and stops it in the end."""
    from tfx.components.infra_validator import error_types

    try:
        runner.Start()
        try:
            runner.WaitUntilRunning(time.time() + deadline - time.monotonic())
            address: str = runner.GetEndpoint()
        except (error_types.JobAborted, error_types.DeadlineExceeded, ValueError) as error:
            raise ModelError(f"{runner}: {one_line(error)}{_logs(runner)}") from error
        yield address
    finally:
        runner.Stop()


def _logs(runner: Any) -> str:
    """The end of the server's own log, where it can still be had."""
    try:
        lines = (runner.GetLogs() or "").splitlines()
    except Exception:
        return ""
    return "; its log ends: " + " | ".join(line.strip() for line in lines[-5:])[-1000:]


def open_server(
    server: str,
    export: str,
    deadline: float,
    *,
    image: str,
    docker_host: str = "",
    service_account: str = "",
) -> contextlib.AbstractContextManager[RunningServer]:
    """The server of that name, with ``export`` behind it. See the functions above."""
    openers: dict[str, Callable[[], contextlib.AbstractContextManager[RunningServer]]] = {
        PROCESS: lambda: embedded_server(export, deadline),
        DOCKER: lambda: docker_server(export, image, deadline, docker_host),
        KUBERNETES: lambda: kubernetes_server(export, image, deadline, service_account),
    }
    return openers[server]()
