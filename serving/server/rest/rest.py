"""The REST API as a raw ASGI application: routes, bodies and statuses. The logic is in ``service``.

In addition to TensorFlow Serving's API it serves ``/healthz`` (the process is alive) and
``/readyz`` (every model has a warm version and the server is not shutting down). Requests are not
logged.
"""

import asyncio
import concurrent.futures
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serving.protocol.errors import Code, ServingError
from serving.server import metrics
from serving.server.monitoring_config import Monitoring
from serving.server.requests import model_info
from serving.server.requests.service import (
    InferenceService,
    Outputs,
    PendingResponse,
    deadline_exceeded,
)
from serving.server.rest import json_service, json_writer, rest_body, rest_routes
from serving.server.rest.rest_body import BodyTooLargeError, ClientDisconnectedError, Receive

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger(__name__)
_JSON, _TEXT = b"application/json", b"text/plain"
_ENTRYPOINT = "REST"
#: Larger bodies are parsed in a thread, so that they do not block the event loop.
_INLINE_BYTES = 128 * 1024
#: Time that a call runs before the server begins to watch for a disconnected client.
_UNWATCHED_SECONDS = 0.02
_HTTP_TOO_LARGE, _HTTP_TIMEOUT, _HTTP_NOT_FOUND = 413, 408, 404
_DEFAULT_RETRY_SECONDS = 1


class RestApplication:
    """ASGI application for REST calls.

    Args:
        service: service that runs inference.
        monitoring: settings of the metrics page.
        timeout_seconds: time limit for a call, and for its body to arrive.
        max_body_bytes: maximum size of a body after decompression.
    """

    def __init__(
        self,
        service: InferenceService,
        monitoring: Monitoring,
        timeout_seconds: float = 30,
        max_body_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        self.draining = False
        self._service = service
        self._monitoring = monitoring
        self._timeout_seconds = timeout_seconds
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            path = f"{path}?{scope['query_string'].decode('latin-1')}"
        if rest_routes.is_api(path):
            await self._answer_api(scope, path, receive, send)
        else:
            await self._answer_page(path, send)

    async def _answer_page(self, path: str, send: Send) -> None:
        if path == "/healthz":
            await _reply(send, 200, b"ok\n", _TEXT)
        elif path == "/readyz":
            ready = not self.draining and self._service.models.ready()
            text = b"ready\n" if ready else b"not ready\n"
            await _reply(send, 200 if ready else 503, text, _TEXT)
        elif self._monitoring.enabled and path.partition("?")[0] == self._monitoring.path:
            await _reply(send, 200, metrics.page(), _TEXT)
        else:
            await _reply(send, _HTTP_NOT_FOUND, json_writer.error("Not Found"))

    async def _answer_api(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "OPTIONS":
            await _reply(send, _preflight_status(scope["headers"]), b"")
            return
        started = time.monotonic()
        model_name, operation = "", ""
        try:
            route = rest_routes.find(method, path)
            model_name, operation = route.spec.name, route.operation
            if operation in json_service.VERBS:
                deadline = started + self._timeout_seconds
                body = await rest_body.read(
                    receive, scope["headers"], self._max_body_bytes, self._timeout_seconds
                )
                content = await self._infer(route, body, receive, deadline)
            elif operation == "metadata":
                content = model_info.metadata_json(self._service, route.spec)
            else:
                content = model_info.status_json(self._service.models, route.spec)
        except ServingError as error:
            self._count_failure(model_name, error.code)
            await _reply_error(send, error)
        except ClientDisconnectedError:
            self._count_failure(model_name, Code.CANCELLED)
        except BodyTooLargeError:
            self._count_failure(model_name, Code.INVALID_ARGUMENT)
            text = f"The request body is larger than {self._max_body_bytes} bytes; split it"
            await _reply(send, _HTTP_TOO_LARGE, json_writer.error(text))
        except TimeoutError:
            self._count_failure(model_name, Code.DEADLINE_EXCEEDED)
            text = f"The request did not arrive within {self._timeout_seconds:g} seconds"
            await _reply(send, _HTTP_TIMEOUT, json_writer.error(text), close=True)
        except Exception:
            _log.exception("A request failed")
            self._count_failure(model_name, Code.INTERNAL)
            await _reply(send, 500, json_writer.error("Internal error"))
        else:
            micros = (time.monotonic() - started) * 1e6
            verb = operation if operation in json_service.VERBS else ""
            metrics.REQUEST_LATENCY.observe(micros, model_name, verb, _ENTRYPOINT)
            metrics.REQUEST_COUNT.increment(model_name, Code.OK.name)
            await _reply(send, 200, content)

    def _count_failure(self, model_name: str, code: Code) -> None:
        metrics.REQUEST_COUNT.increment(self._service.metric_label(model_name), code.name)

    async def _infer(
        self, route: rest_routes.Route, body: bytes, receive: Receive, deadline: float
    ) -> bytes:
        arguments = (self._service, route.operation, route.spec, body, deadline)
        if len(body) <= _INLINE_BYTES:
            call = json_service.submit(*arguments)
        else:
            call = await asyncio.to_thread(json_service.submit, *arguments)
        outputs = await _outputs(call, receive)
        if len(body) <= _INLINE_BYTES:
            return call.answer(outputs)
        return await asyncio.to_thread(call.answer, outputs)


async def _outputs(call: PendingResponse[bytes], receive: Receive) -> Outputs:
    """Wait for the outputs of a call, which is cancelled on disconnect or at the deadline."""
    if call.future.done():
        return _result(call.future)
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def wake() -> None:
        if not done.done():
            done.set_result(None)

    call.future.add_done_callback(lambda _: loop.call_soon_threadsafe(wake))
    watching = loop.call_later(_UNWATCHED_SECONDS, _watch, loop, call, receive, done)
    try:
        await done
    except BaseException:
        call.future.cancel()
        raise
    finally:
        watching.cancel()
    return _result(call.future)


def _watch(
    loop: asyncio.AbstractEventLoop,
    call: PendingResponse[bytes],
    receive: Receive,
    done: "asyncio.Future[None]",
) -> None:
    """End the wait when the client disconnects or the deadline passes.

    Most calls end before this is called. A task for each of them would cost more than parsing it.
    """

    def give_up(error: BaseException) -> None:
        if not done.done():
            done.set_exception(error)

    assert call.deadline is not None
    remaining = max(call.deadline - time.monotonic(), 0)
    timer = loop.call_later(remaining, lambda: give_up(deadline_exceeded()))
    watch = loop.create_task(_until_disconnected(receive))
    watch.add_done_callback(lambda _: give_up(ClientDisconnectedError()))

    def stop(_: object) -> None:
        timer.cancel()
        watch.cancel()

    done.add_done_callback(stop)


def _result(future: "concurrent.futures.Future[Outputs]") -> Outputs:
    try:
        return future.result(0)
    except concurrent.futures.CancelledError:
        raise ServingError(Code.CANCELLED, "The call was cancelled") from None


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _preflight_status(headers: list[tuple[bytes, bytes]]) -> int:
    """Return the status of a preflight request, which must have an origin but grants nothing."""
    origin = dict(headers).get(b"origin", b"")
    return 200 if b"http://" in origin or b"https://" in origin else 400


async def _reply_error(send: Send, error: ServingError) -> None:
    retry = b""
    if error.code is Code.UNAVAILABLE:
        seconds = error.retry_after_seconds
        whole = _DEFAULT_RETRY_SECONDS if seconds is None else max(1, round(seconds))
        retry = str(whole).encode()
    await _reply(send, error.code.http_status, json_writer.error(error.message), retry=retry)


async def _reply(
    send: Send,
    status: int,
    body: bytes,
    content_type: bytes = _JSON,
    *,
    retry: bytes = b"",
    close: bool = False,
) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    if retry:
        headers.append((b"retry-after", retry))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
