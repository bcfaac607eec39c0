"""A server that has become ready: where it answers and what it serves."""

import contextlib
import dataclasses
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from serving.client import Client, ClientError, ModelMetadata

if TYPE_CHECKING:
    from serving.server.model_server import Endpoints

#: Addresses that mean every interface -> one that a client can connect to.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


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
    host = _EVERYWHERE.get(endpoints.host, endpoints.host)
    host = f"[{host}]" if ":" in host else host
    rest = f"http://{host}:{endpoints.rest_api_port}"
    return ReadyServer(
        rest_url=rest,
        grpc_url=f"grpc://{host}:{endpoints.port}",
        models={name: _metadata(rest, name) for name in sorted(models)},
    )


def _metadata(url: str, model: str) -> ModelMetadata | None:
    with contextlib.suppress(ClientError), Client(url, model=model, timeout=10) as client:
        return client.metadata()
    return None
