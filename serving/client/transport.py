"""Interface of a connection to a server, independent of the protocol."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from serving.client.retries import Deadline
from serving.client.signature_metadata import ModelMetadata, SignatureMetadata
from serving.protocol.servable import VersionStatus


@dataclasses.dataclass(frozen=True)
class Target:
    """Model and version to call.

    Attributes:
        model: name of the model.
        version: version number; None leaves the choice to the label or the server.
        label: version label; None if there is none or ``version`` is given.
    """

    model: str
    version: int | None = None
    label: str | None = None


class Transport(Protocol):
    """A connection. Each method makes one attempt and raises ``ClientError`` if it fails."""

    async def predict_texts(
        self, texts: Sequence[bytes], input_name: str, signature: str, deadline: Deadline
    ) -> Mapping[str, Any]:
        """Return outputs by name, as lists or arrays, for one batch of UTF-8 texts."""
        ...

    async def predict_tensors(
        self,
        inputs: Mapping[str, Any],
        signature: str,
        metadata: SignatureMetadata,
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> dict[str, Any]:
        """Return arrays by output name; inputs and outputs have the signature's types."""
        ...

    async def metadata(self, deadline: Deadline) -> ModelMetadata:
        """Return the signatures of the version that answers."""
        ...

    async def status(self, deadline: Deadline) -> list[VersionStatus]:
        """Return all versions that the server reports, newest first, or only the target's."""
        ...

    async def close(self) -> None:
        """Close the connection. Call it once."""
        ...
