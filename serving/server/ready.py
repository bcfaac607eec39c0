"""A server that has become ready: where it answers and what it serves."""

import contextlib
import dataclasses
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from modules.contract.addresses import authority, local_host
from serving.client import Client, ClientError, ModelMetadata

if TYPE_CHECKING:
    from serving.server.model_server import Endpoints


@dataclasses.dataclass(frozen=True)
class ReadyServer:
    """A server as its callers on this machine see it.

    Attributes:
        rest_url: base URL of REST.
        grpc_url: the same for gRPC.
        models: metadata by name, sorted; None where the server does not give it.
    """

    rest_url: str
    grpc_url: str
    models: Mapping[str, ModelMetadata | None]


def read_ready_server(endpoints: "Endpoints", models: Collection[str]) -> ReadyServer:
    """Ask a server of this process for its models.

    Args:
        endpoints: where it listens.
        models: names.
    """
    host = local_host(endpoints.host)
    rest = f"http://{authority(host, endpoints.rest_api_port)}"
    return ReadyServer(
        rest_url=rest,
        grpc_url=f"grpc://{authority(host, endpoints.port)}",
        models={name: _metadata(rest, name) for name in sorted(models)},
    )


def _metadata(url: str, model: str) -> ModelMetadata | None:
    with contextlib.suppress(ClientError), Client(url, model=model, timeout=10) as client:
        return client.metadata()
    return None
