"""What can go wrong in a call, as one tree.

::

    ServingError                    carries ``code`` and ``message``
      ClientError                   any failure of a call
        ConnectionFailedError       nobody answers at the URL, or the connection broke: UNAVAILABLE
        DeadlineExceededError       no whole answer in time: DEADLINE_EXCEEDED
        RequestRefusedError         the server answered with an error; its code and its words
        UnexpectedAnswerError       what came back is no answer to the question: INTERNAL

Only ``UNAVAILABLE`` is tried again. A wrong argument of the client itself is a
``modules.contract.errors.UserError`` and never leaves the machine.
"""

from serving.protocol.errors import Code, ServingError

#: HTTP statuses of TensorFlow Serving, and of proxies before it. 400 stands for three codes.
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
    """A call that failed. ``code`` tells how, ``message`` is one line."""

    def __init__(self, code: Code, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(code, " ".join(message.split()), retry_after_seconds)

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class ConnectionFailedError(ClientError):
    """Nobody answers at the URL, or the connection broke before the answer was whole."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.UNAVAILABLE, message)


class DeadlineExceededError(ClientError):
    """No whole answer within the client's ``timeout``."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.DEADLINE_EXCEEDED, message)


class RequestRefusedError(ClientError):
    """The server answered, and its answer is an error."""


class UnexpectedAnswerError(ClientError):
    """What came back is no answer to what was asked: another program, or another kind of model."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.INTERNAL, message)


def code_of_http_status(status: int) -> Code:
    """The code that an HTTP status stands for; ``UNKNOWN`` where it stands for none."""
    return _CODES.get(status, Code.UNKNOWN)
