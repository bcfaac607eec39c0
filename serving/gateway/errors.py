"""Errors of the HTTP API, all in one JSON shape.

``{"error": {"code": "...", "message": "...", "request_id": "..."}}``
"""

import math
from typing import Any

from starlette.exceptions import HTTPException

from serving.protocol.errors import Code, ServingError

#: HTTP status -> code, for errors that FastAPI raises itself.
CODES = {404: "not_found", 405: "method_not_allowed"}
#: Message of a 500; the log names the request by its id.
INTERNAL_ERROR = "internal error; search the gateway's log for this request id"


class GatewayError(HTTPException):
    """An error with its code; an ``HTTPException``, so that FastAPI passes it to its handler.

    Args:
        status: HTTP status.
        code: for programs.
        message: one line for people.
        retry_after: seconds until a retry makes sense; None omits the header.
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
    """Return the JSON body of an error."""
    return {"error": {"code": code, "message": message, "request_id": request_id}}


def from_model_server(error: ServingError) -> GatewayError:
    """Translate a failed call to the model server into an error for the caller.

    The server's message is passed on only when the caller's texts are at fault.
    """
    if error.code in (Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE):
        return GatewayError(422, "model_refused", f"the model refused: {error.message[:300]}")
    if error.code is Code.DEADLINE_EXCEEDED:
        return GatewayError(504, "model_timeout", "the model server did not answer in time")
    if error.code in (Code.UNAVAILABLE, Code.NOT_FOUND, Code.RESOURCE_EXHAUSTED):
        wait = 1.0 if error.retry_after_seconds is None else error.retry_after_seconds
        return GatewayError(
            503, "model_unavailable", "the model server is unavailable; try again", wait
        )
    return GatewayError(502, "model_failed", "the model server failed")


def database_away() -> GatewayError:
    """Return the error for an unavailable database: nothing was stored, a retry is safe."""
    return GatewayError(
        503, "database_unavailable", "the database is unavailable; nothing was stored, try again", 2
    )
