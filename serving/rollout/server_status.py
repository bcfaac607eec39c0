"""The status of versions on the model server."""

import dataclasses
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class ServedVersion:
    """A version on the model server.

    Attributes:
        available: whether it accepts traffic.
        error: why it could not be loaded; "" otherwise.
    """

    available: bool
    error: str = ""


#: Returns the server's versions by number; None when it does not answer.
ServerStatus = Callable[[], Mapping[int, ServedVersion] | None]


class AskedServer:
    """A ``ServerStatus`` that queries a server.

    Args:
        url: ``grpc://HOST:PORT``, ``http://HOST:PORT`` or with TLS.
        model: the model's name on the server.
        timeout_seconds: after which the server counts as unavailable.
    """

    def __init__(self, url: str, model: str, timeout_seconds: float = 2.0) -> None:
        self._url = url
        self._model = model
        self._timeout_seconds = timeout_seconds

    def __call__(self) -> Mapping[int, ServedVersion] | None:
        """Query the server.

        Raises:
            UserError: the URL is invalid.
        """
        from serving.client import Client, ClientError
        from serving.protocol.errors import Code
        from serving.protocol.servable import State

        with Client(
            self._url, model=self._model, timeout=self._timeout_seconds, retries=0
        ) as client:
            try:
                versions = client.status()
            except ClientError as error:
                return {} if error.code is Code.NOT_FOUND else None
        return {
            each.version: ServedVersion(
                available=each.state is State.AVAILABLE,
                error=_error(each.message, each.code.name)
                if each.state is State.END and each.code is not Code.OK
                else "",
            )
            for each in versions
        }


def _error(message: str, code: str) -> str:
    lines = message.strip().splitlines()
    return lines[0] if lines else code
