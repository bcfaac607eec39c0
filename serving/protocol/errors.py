"""Serving errors and their status codes over gRPC and HTTP.

Codes are those of gRPC (google/rpc/code.proto). Their HTTP statuses are those of TensorFlow Serving
(util/net_http and http_rest_api_handler.cc), by which clients decide whether to retry.
"""

import enum

#: Length at which TensorFlow Serving truncates gRPC messages (servables/tensorflow/util.cc).
_GRPC_MESSAGE_LIMIT = 1024
_TRUNCATED = "...TRUNCATED"


class Code(enum.IntEnum):
    """A canonical status code."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def http_status(self) -> int:
        """HTTP status that TensorFlow Serving returns for the code."""
        return _HTTP_STATUS[self]


_HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


class ServingError(Exception):
    """A request, a version or a configuration that cannot be served.

    Attributes:
        code: status code.
        message: reason, sent to the caller as it is.
        retry_after_seconds: for ``UNAVAILABLE``, how long the caller should wait before it retries;
            None if unknown.
    """

    def __init__(self, code: Code, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds

    @property
    def grpc_message(self) -> str:
        """The message, truncated as TensorFlow Serving truncates it over gRPC."""
        if len(self.message) <= _GRPC_MESSAGE_LIMIT:
            return self.message
        return self.message[:_GRPC_MESSAGE_LIMIT] + _TRUNCATED


def invalid_argument(message: str) -> ServingError:
    """Return an ``INVALID_ARGUMENT`` error with a message."""
    return ServingError(Code.INVALID_ARGUMENT, message)
