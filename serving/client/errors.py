"""Exceptions that a call can raise.

::

    ServingError                    has ``code`` and ``message``
      ClientError                   any failed call
        ConnectionFailedError       no server at the URL, or a lost connection: UNAVAILABLE
        DeadlineExceededError       no complete response in time: DEADLINE_EXCEEDED
        RequestRefusedError         the server returned an error: its code and its message
        UnexpectedAnswerError       the response is not one of a suitable model: INTERNAL

Only ``UNAVAILABLE`` is retried. An invalid argument raises a ``modules.contract.errors.UserError``
instead, before anything is sent.
"""

from serving.protocol.errors import Code, ServingError

#: HTTP statuses of TensorFlow Serving, and of proxies in front of it. 400 is used for three codes.
_CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.ABORTED,
    413: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


class ClientError(ServingError):
    """A failed call.

    Attributes:
        code: the status code.
        message: the reason, on one line.
        retry_after_seconds: the pause that the server asked for; None if it asked for none.
    """

    def __init__(self, code: Code, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(code, " ".join(message.split()), retry_after_seconds)

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class ConnectionFailedError(ClientError):
    """No server answers at the URL, or the connection was lost before the response was complete."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.UNAVAILABLE, message)


class DeadlineExceededError(ClientError):
    """No complete response arrived within the client's ``timeout``."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.DEADLINE_EXCEEDED, message)


class RequestRefusedError(ClientError):
    """The server returned an error."""


class UnexpectedAnswerError(ClientError):
    """The response is not that of a model server, or not that of a suitable model."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.INTERNAL, message)


def code_of_http_status(status: int) -> Code:
    """Return the code for an HTTP status; ``UNKNOWN`` if there is none."""
    return _CODES.get(status, Code.UNKNOWN)
