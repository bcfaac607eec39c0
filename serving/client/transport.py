"""What the client asks of a connection to a server, whatever the protocol."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from serving.client.retries import Deadline
from serving.client.signature_metadata import ModelMetadata, SignatureMetadata
from serving.protocol.servable import VersionStatus


@dataclasses.dataclass(frozen=True)
class Target:
    """Which model answers.

    Attributes:
        model: its name.
        version: its number; None leaves it to the server.
        label: a version label; None for none. Not both.
    """

    model: str
    version: int | None = None
    label: str | None = None


class Transport(Protocol):
    """A connection. Every method raises ``ClientError`` and tries once."""

    async def predict_texts(
        self, texts: Sequence[bytes], input_name: str, signature: str, deadline: Deadline
    ) -> Mapping[str, Any]:
        """Outputs by alias, lists or arrays, of a model that takes one batch of UTF-8 texts."""
        ...

    async def predict_tensors(
        self,
        inputs: Mapping[str, Any],
        signature: str,
        metadata: SignatureMetadata,
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> dict[str, Any]:
        """Arrays by alias, in the signature's types; inputs are arrays in them."""
        ...

    async def metadata(self, deadline: Deadline) -> ModelMetadata:
        """The signatures of the version that answers."""
        ...

    async def status(self, deadline: Deadline) -> list[VersionStatus]:
        """Every version that the server knows of, newest first, or the target's one."""
        ...

    async def close(self) -> None:
        """Give back sockets. Once."""
        ...
