"""URLs and models of a server that has become ready."""

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
    """A ready server, as seen by clients on the same machine.

    Attributes:
        rest_url: base URL for REST.
        grpc_url: base URL for gRPC.
        models: metadata by model name, sorted; None if the server did not return it.
    """

    rest_url: str
    grpc_url: str
    models: Mapping[str, ModelMetadata | None]


def read_ready_server(endpoints: "Endpoints", models: Collection[str]) -> ReadyServer:
    """Read the metadata of the models of a server in this process.

    Args:
        endpoints: address and ports that the server listens on.
        models: names of the models.
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
