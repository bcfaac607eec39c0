"""The gateway as an ASGI application."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from serving.gateway import feedback_routes, openapi, page_routes, predict_routes, state_routes
from serving.gateway.access import log_of
from serving.gateway.envelope import Envelope
from serving.gateway.errors import CODES, INTERNAL_ERROR, GatewayError, error_body
from serving.gateway.parts import Parts

_DESCRIPTION = (
    "Classifies texts and collects feedback on the predictions. Send an API key as "
    "`Authorization: Bearer KEY`. All errors have the same shape: a code for programs, a message "
    "for people, and the request id."
)


def make_application(parts: Parts) -> Envelope:
    """Return the application; its lifespan starts and stops the parts."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await parts.start()
        try:
            yield
        finally:
            await parts.stop()

    application = FastAPI(
        title="bert gateway",
        version="1",
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads its scripts from a public server
        redoc_url=None,
        redirect_slashes=False,
    )
    application.state.parts = parts
    for module in (predict_routes, feedback_routes, state_routes, page_routes):
        application.include_router(module.router)
    application.openapi = lambda: openapi.document(application)  # type: ignore[method-assign]
    application.add_exception_handler(HTTPException, _http_error)
    application.add_exception_handler(RequestValidationError, _invalid)
    application.add_exception_handler(Exception, _internal)
    return Envelope(application, parts.metrics)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error, GatewayError):
        code, message = error.code, error.message
    else:
        code = CODES.get(error.status_code, "error")
        message = f"{error.detail}: {request.method} {request.url.path[:200]}"
    return _reply(request, error.status_code, code, message, dict(error.headers or {}))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"][1:])
    return _reply(request, 422, "invalid_request", f"{place}: {problem['msg']}", {})


async def _internal(request: Request, _: Exception) -> JSONResponse:
    return _reply(request, 500, "internal", INTERNAL_ERROR, {})


def _reply(
    request: Request, status: int, code: str, message: str, headers: dict[str, Any]
) -> JSONResponse:
    message = message.encode("utf-8", "replace").decode()
    body = error_body(code, message, log_of(request).request_id)
    return JSONResponse(body, status, headers)
