"""The ASGI layer around all routes: request ids, headers, log, metrics, and JSON for crashes."""

import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import orjson

from serving.gateway.errors import INTERNAL_ERROR, error_body
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.request_log import RequestLog, log_request

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_log = logging.getLogger(__name__)

#: Key of a request's log entry in the state of its scope.
LOG = "request_log"
_UNKNOWN_ROUTE = "unknown"
#: Bytes of a refused body that are received, so that the connection can be reused.
_WORTH_RECEIVING = 65_536
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)


class Envelope:
    """Wraps the application.

    Args:
        application: answers the requests.
        metrics: counts the requests.
    """

    def __init__(self, application: Application, metrics: GatewayMetrics) -> None:
        self._application = application
        self._metrics = metrics

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        log = RequestLog(uuid.uuid4().hex)
        scope.setdefault("state", {})[LOG] = log
        started = time.monotonic()
        status, whole = 0, False
        body = _Body(receive, scope["headers"])

        async def send_with_headers(message: Message) -> None:
            nonlocal status, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                own = ((b"x-request-id", log.request_id.encode()), *_HEADERS)
                message["headers"] = [*message.get("headers", ()), *own]
                if status >= 400 and body.is_long:
                    message["headers"].append((b"connection", b"close"))
            await send(message)
            whole = message["type"] == "http.response.body" and not message.get("more_body")

        try:
            await self._application(scope, body.receive, send_with_headers)
        except Exception:
            _log.exception("request %s failed", log.request_id)
            if not status:
                await _send_internal_error(send_with_headers, log.request_id)
            elif not whole:  # close the connection: a cut-off response must not look complete
                raise
        finally:
            # Unknown paths share one name: callers could create any number of metrics.
            route = getattr(scope.get("route"), "path", "") or _UNKNOWN_ROUTE
            log.route = route
            seconds = time.monotonic() - started
            self._metrics.requests.labels(route, str(status or 499)).inc()
            self._metrics.request_seconds.labels(route).observe(seconds)
            log_request(log, scope["method"], status or 499, seconds)


class _Body:
    """Tracks whether more of a refused body is left than is worth receiving."""

    def __init__(self, receive: Receive, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._receive = receive
        self._whole = False
        named = dict(headers)
        length = named.get(b"content-length", b"0")
        self._may_be_long = b"transfer-encoding" in named or (
            not length.isdigit() or len(length) > 9 or int(length) > _WORTH_RECEIVING
        )

    @property
    def is_long(self) -> bool:
        """Whether to close the connection."""
        return self._may_be_long and not self._whole

    async def receive(self) -> Message:
        """Return the next message."""
        message = await self._receive()
        self._whole = not message.get("more_body", False)
        return message


async def _send_internal_error(send: Send, request_id: str) -> None:
    body = orjson.dumps(error_body("internal", INTERNAL_ERROR, request_id))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
