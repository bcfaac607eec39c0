"""The way into a route: who calls, may they, and not too fast."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import cast

from starlette.requests import Request

from serving.gateway.authentication import Identity, network_of
from serving.gateway.envelope import LOG
from serving.gateway.errors import GatewayError
from serving.gateway.parts import Parts
from serving.gateway.request_log import RequestLog
from serving.gateway.service import Caller
from serving.records.tables import ANONYMOUS

_STICKY_HEADER = "x-sticky-key"
_LONGEST_STICKY_KEY = 200


@dataclasses.dataclass(frozen=True)
class Visit:
    """A request that was let in.

    Attributes:
        parts: of the gateway.
        identity: who calls.
        caller: the same, as the service knows it.
        log: of the request.
    """

    parts: Parts
    identity: Identity
    caller: Caller
    log: RequestLog


def parts_of(request: Request) -> Parts:
    """The gateway's parts."""
    return cast(Parts, request.app.state.parts)


def log_of(request: Request) -> RequestLog:
    """The request's line in the log."""
    return cast(RequestLog, getattr(request.state, LOG))


def needs(scope: str) -> Callable[[Request], Awaitable[Visit]]:
    """A dependency that lets in who has a scope; it runs before the body is read."""

    async def enter(request: Request) -> Visit:
        parts, log = parts_of(request), log_of(request)
        client = request.client.host if request.client else ""
        try:
            identity = await parts.authenticator.identify(request.headers, client)
        except GatewayError as error:
            if error.status_code == 401:  # guessing keys is slowed down too
                _limit(parts, f"refused:{network_of(client)}")
            raise
        log.key_id = identity.key_id
        _limit(parts, identity.bucket)
        if not identity.may(scope):
            raise GatewayError(403, "forbidden", f"the API key lacks the scope {scope!r}")
        caller = Caller(identity.key_id, _sticky_key(request, identity, client))
        return Visit(parts, identity, caller, log)

    return enter


def _limit(parts: Parts, bucket: str) -> None:
    if pause := parts.limiter.take(bucket):
        parts.metrics.rate_limited.inc()
        raise GatewayError(429, "rate_limited", "too many requests; slow down", pause)


def _sticky_key(request: Request, identity: Identity, client: str) -> str:
    """What keeps a caller with one version: its own word, its key, or its address."""
    own = request.headers.get(_STICKY_HEADER, "")[:_LONGEST_STICKY_KEY]
    if own:
        return f"{identity.key_id}:{own}"
    return identity.key_id if identity.key_id != ANONYMOUS else client
