"""Model servers on which the InfraValidator serves a candidate.

* ``process``: the embedded server, on this machine.
* ``docker``: stock TensorFlow Serving in a container, started by TFX's ``LocalDockerRunner``.
* ``kubernetes``: stock TensorFlow Serving in a pod next to the pipeline's, started by TFX's
  ``KubernetesRunner``; works only in a pod of Kubeflow Pipelines.

Each is a context manager that yields the server's addresses and cleans up at the end. It raises
``UserError`` for errors that the user can fix, and ``ModelError`` for a server that does not start
with this model.
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
#: ``name:tag`` or ``name@sha256:digest``; without either, TFX would bless without checking.
_IMAGE = re.compile(r"(?P<name>[^@\s]+?)(:(?P<tag>[\w][\w.-]*)|@(?P<digest>sha256:[0-9a-f]{64}))")


@dataclasses.dataclass(frozen=True)
class RunningServer:
    """A server that listens; its model may still be loading.

    Attributes:
        rest: ``http://host:port``.
        grpc: ``grpc://host:port``.
        peak_memory_mb: returns the server's peak memory so far, in MiB; None if it is unknown.
    """

    rest: str
    grpc: str
    peak_memory_mb: Callable[[], float | None] = lambda: None


def parse_image(image: str) -> dict[str, str]:
    """Return an image reference as arguments of TFX's ``TensorFlowServing``.

    Args:
        image: ``name:tag`` or ``name@sha256:digest``.

    Returns:
        ``image_name`` and either ``tag`` or ``digest``.

    Raises:
        UserError: the reference has neither tag nor digest, or the tag is "latest".
    """
    match = _IMAGE.fullmatch(image)
    if match is None or match["tag"] == "latest":
        raise UserError(
            "infra_validator.image needs a fixed tag or a digest, so that the server that "
            f"validates is known; got {image!r}; try tensorflow/serving:2.19.1"
        )
    key = "tag" if match["tag"] else "digest"
    return {"image_name": match["name"], key: match[key]}


@contextlib.contextmanager
def embedded_server(export: str, deadline: float) -> Iterator[RunningServer]:
    """Serve ``export``, a local folder, in the prepared process or a new one.

    Args:
        export: folder of the SavedModel.
        deadline: ``time.monotonic()`` by which the server must listen.

    Yields:
        The running server.

    Raises:
        ModelError: the process exited, or did not listen in time.
    """
    process = embedded_process.take()
    try:
        addresses = process.serve(export, deadline)
        yield RunningServer(**addresses, peak_memory_mb=process.peak_memory_mb)
    finally:
        process.end()


def _container_memory_mb(container: Any) -> float | None:
    """Return the container's peak memory in MiB, or its current memory if Docker has no peak."""
    statistics = container.stats(stream=False).get("memory_stats", {})
    found = statistics.get("max_usage", statistics.get("usage"))
    return None if found is None else found / 2**20


@contextlib.contextmanager
def docker_server(
    export: str, image: str, deadline: float, docker_host: str = ""
) -> Iterator[RunningServer]:
    """Serve ``export``, a folder that the Docker engine can mount, with stock TensorFlow Serving.

    Args:
        export: folder of the SavedModel.
        image: image of TensorFlow Serving, with tag or digest.
        deadline: ``time.monotonic()`` by which the container must be running.
        docker_host: the engine's URL; empty: Docker's default socket.

    Yields:
        The running server.

    Raises:
        ModelError: the container did not start with this model.
        UserError: the engine cannot be reached, or cannot pull the image.
    """
    from docker import errors as docker_errors
    from tfx.components.infra_validator.model_server_runners import local_docker_runner

    spec = _serving_spec()
    spec.local_docker.client_base_url = docker_host
    try:
        runner = local_docker_runner.LocalDockerRunner(export, _binary(image), spec)
        with _running(runner, deadline) as grpc_address:
            # TFX reads only the container's gRPC port.
            port = local_docker_runner._find_host_port(runner._container.ports, _REST_PORT)
            host = grpc_address.rpartition(":")[0]
            yield RunningServer(
                f"http://{host}:{port}",
                f"grpc://{grpc_address}",
                lambda: _container_memory_mb(runner._container),
            )
    except docker_errors.DockerException as error:
        raise UserError(
            f"infra_validator.server = docker: {one_line(error)}; check that the engine is "
            f"running and can pull {image}, or use --set infra_validator.server=process, which "
            "needs no Docker"
        ) from error


@contextlib.contextmanager
def kubernetes_server(
    export: str, image: str, deadline: float, service_account: str = ""
) -> Iterator[RunningServer]:
    """Serve ``export`` with stock TensorFlow Serving in a pod of this pipeline's namespace.

    Args:
        export: URI, or path on a mounted volume, that ends in ``candidate/VERSION``; TensorFlow
            Serving gets the parent folder.
        image: image of TensorFlow Serving, with tag or digest.
        deadline: ``time.monotonic()`` by which the pod must be running.
        service_account: service account of the pod; empty: the pipeline's own.

    Yields:
        The running server.

    Raises:
        ModelError: the pod did not start with this model.
        UserError: the process does not run in Kubeflow Pipelines, or Kubernetes refuses the pod.
    """
    from kubernetes.client import rest
    from kubernetes.config import ConfigException
    from tfx.components.infra_validator.model_server_runners import kubernetes_runner

    spec = _serving_spec()
    spec.kubernetes.service_account_name = service_account
    # Kubernetes ends the pod by itself if this process is killed.
    spec.kubernetes.active_deadline_seconds = max(1, int(deadline - time.monotonic())) + 60
    try:
        runner = kubernetes_runner.KubernetesRunner(export, _binary(image), spec)
        with _running(runner, deadline) as grpc_address:
            host = grpc_address.rpartition(":")[0]
            yield RunningServer(f"http://{host}:{_REST_PORT}", f"grpc://{grpc_address}")
    except (NotImplementedError, ConfigException, rest.ApiException) as error:
        raise UserError(
            f"infra_validator.server = kubernetes: {one_line(error)}; it works only in a pod of "
            "Kubeflow Pipelines; elsewhere, use --set infra_validator.server=process"
        ) from error


def _serving_spec() -> Any:
    from tfx.proto import infra_validator_pb2

    return infra_validator_pb2.ServingSpec(model_name=MODEL_NAME)


def _binary(image: str) -> Any:
    from tfx.components.infra_validator import serving_bins

    return serving_bins.TensorFlowServing(model_name=MODEL_NAME, **parse_image(image))


@contextlib.contextmanager
def _running(runner: Any, deadline: float) -> Iterator[str]:
    """Start a TFX runner, yield its gRPC address, and stop it at the end."""
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
    """Return the end of the server's own log, or "" if it is not available."""
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
    """Return the context manager that serves ``export`` on the named server.

    Args:
        server: one of ``SERVERS``.
        export: see the functions above, as for the other arguments.
        deadline: ``time.monotonic()`` by which the server must be running.
        image: image of TensorFlow Serving, with tag or digest.
        docker_host: the Docker engine's URL; empty: its default socket.
        service_account: service account of the pod; empty: the pipeline's own.

    Raises:
        KeyError: there is no such server.
    """
    openers: dict[str, Callable[[], contextlib.AbstractContextManager[RunningServer]]] = {
        PROCESS: lambda: embedded_server(export, deadline),
        DOCKER: lambda: docker_server(export, image, deadline, docker_host),
        KUBERNETES: lambda: kubernetes_server(export, image, deadline, service_account),
    }
    return openers[server]()
