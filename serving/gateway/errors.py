"""What a caller can be told, in one JSON shape.

``{"error": {"code": "...", "message": "...", "request_id": "..."}}``
"""

import math
from typing import Any

from starlette.exceptions import HTTPException

from serving.protocol.errors import Code, ServingError

#: HTTP status -> code, for errors that FastAPI itself finds.
CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "body_too_slow",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "rate_limited",
    500: "internal",
    503: "unavailable",
}


class GatewayError(HTTPException):
    """An error with its code. An ``HTTPException``, so that FastAPI hands it through.

    Args:
        status: of HTTP.
        code: for programs.
        message: for people; one line.
        retry_after: seconds until it is worth trying again; None says nothing.
    """

    def __init__(
        self, status: int, code: str, message: str, retry_after: float | None = None
    ) -> None:
        headers = {}
        if retry_after is not None:
            headers["retry-after"] = str(max(1, math.ceil(retry_after)))
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        super().__init__(status, message, headers)
        self.code = code
        self.message = message


def error_body(code: str, message: str, request_id: str) -> dict[str, Any]:
    """The one shape of all errors."""
    return {"error": {"code": code, "message": message, "request_id": request_id}}


def from_model_server(error: ServingError) -> GatewayError:
    """What a caller is told of a failed call of the model server.

    Its words are passed on only where the caller's own texts are at fault.
    """
    if error.code in (Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE):
        return GatewayError(422, "model_refused", f"the model refuses: {error.message[:300]}")
    if error.code is Code.DEADLINE_EXCEEDED:
        return GatewayError(504, "model_timeout", "the model server did not answer in time")
    if error.code in (Code.UNAVAILABLE, Code.NOT_FOUND, Code.RESOURCE_EXHAUSTED):
        wait = 1.0 if error.retry_after_seconds is None else error.retry_after_seconds
        return GatewayError(
            503, "model_unavailable", "the model server does not answer; try again", wait
        )
    return GatewayError(502, "model_failed", "the model server failed")


def database_away() -> GatewayError:
    """Nothing was kept; the caller may send the same again."""
    return GatewayError(
        503, "database_unavailable", "the database does not answer; nothing was kept, try again", 2
    )
