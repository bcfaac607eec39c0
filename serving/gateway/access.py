"""Authentication, rate limits and scopes, checked before a route reads its body."""

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
    """An admitted request.

    Attributes:
        parts: the gateway's parts.
        identity: the authenticated caller.
        caller: the same caller, for ``PredictionService``.
        log: the request's log entry.
    """

    parts: Parts
    identity: Identity
    caller: Caller
    log: RequestLog


def parts_of(request: Request) -> Parts:
    """Return the gateway's parts."""
    return cast(Parts, request.app.state.parts)


def log_of(request: Request) -> RequestLog:
    """Return the request's log entry."""
    return cast(RequestLog, getattr(request.state, LOG))


def needs(scope: str) -> Callable[[Request], Awaitable[Visit]]:
    """Return a dependency that admits callers with a scope, before the body is read."""

    async def enter(request: Request) -> Visit:
        parts, log = parts_of(request), log_of(request)
        client = request.client.host if request.client else ""
        try:
            identity = await parts.authenticator.identify(request.headers, client)
        except GatewayError as error:
            if error.status_code == 401:  # throttle key guessing as well
                _limit(parts, f"refused:{network_of(client)}")
            raise
        log.key_id = identity.key_id
        _limit(parts, identity.bucket)
        if not identity.may(scope):
            raise _lacks_scope(identity, scope)
        caller = Caller(identity.key_id, _sticky_key(request, identity, client))
        return Visit(parts, identity, caller, log)

    return enter


def _lacks_scope(identity: Identity, scope: str) -> GatewayError:
    if identity.key_id == ANONYMOUS:
        return GatewayError(
            401,
            "unauthenticated",
            f"an API key with the scope {scope!r} is required, also on this machine; create one "
            f"with `bert keys create --name NAME --scope {scope}`",
        )
    return GatewayError(
        403, "forbidden", f"the API key lacks the scope {scope!r}; use a key that has it"
    )


def _limit(parts: Parts, bucket: str) -> None:
    if pause := parts.limiter.take(bucket):
        parts.metrics.rate_limited.inc()
        message = "too many requests; wait for the seconds in the Retry-After header"
        raise GatewayError(429, "rate_limited", message, pause)


def _sticky_key(request: Request, identity: Identity, client: str) -> str:
    """Return what pins a caller to one version: its header, its API key, or its address."""
    own = request.headers.get(_STICKY_HEADER, "")[:_LONGEST_STICKY_KEY]
    if own:
        return f"{identity.key_id}:{own}"
    return identity.key_id if identity.key_id != ANONYMOUS else client
