"""Streaming predictions: JSON lines in and out at the same time, in constant memory."""

import asyncio
import dataclasses
import math
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, TypeAdapter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving.client import ClientError
from serving.gateway import body
from serving.gateway.access import Visit
from serving.gateway.envelope import Receive, Send
from serving.gateway.errors import GatewayError, error_body, from_model_server
from serving.gateway.line_splitter import LineSplitter
from serving.gateway.service import Request as Texts

#: Content types of a stream.
STREAM_TYPES = ("application/jsonl", "application/x-ndjson", "application/x-jsonlines")
#: Maximum texts in one call to the model server.
_WINDOW = 256
#: How long a stream may be idle, in either direction.
IDLE_SECONDS = 60.0


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    text: str
    id: Any = None


_line: TypeAdapter[str | _Line] = TypeAdapter(str | _Line)


@dataclasses.dataclass
class _Asked:
    """One line: its text, or the error in its place."""

    number: int
    text: str | None
    own: dict[str, Any]
    error: GatewayError | None = None


class StreamedAnswers(Response):
    """The response to a stream.

    Starlette's streaming response listens for a disconnect and would swallow the body.

    Args:
        request: its body holds the lines.
        visit: the admitted request.
    """

    media_type = STREAM_TYPES[0]

    def __init__(self, request: Request, visit: Visit) -> None:
        self.status_code = 200
        self.background = None
        self._request = request
        self._visit = visit
        self._lines = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Send the results line by line."""
        headers = [(b"content-type", STREAM_TYPES[0].encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            async for content in self._answers():
                async with asyncio.timeout(IDLE_SECONDS):
                    await send({"type": "http.response.body", "body": content, "more_body": True})
        except ClientDisconnect:
            return
        except TimeoutError:
            message = f"the stream was idle for {IDLE_SECONDS:g} s; read results while sending"
            late = GatewayError(408, "stream_idle", message)
            last = _error_line(self._lines + 1, {}, late, self._visit.log.request_id)
            await send({"type": "http.response.body", "body": last, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answers(self) -> AsyncIterator[bytes]:
        splitter = LineSplitter(self._visit.parts.settings.max_body_bytes)
        chunks = aiter(self._request.stream())
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await anext(chunks, None)
            lines = splitter.finish() if chunk is None else splitter.feed(chunk)
            for window in self._windows(lines):
                yield await self._answer(window)
            if chunk is None:
                return

    def _windows(self, lines: Iterator[bytes | None]) -> Iterator[list[_Asked]]:
        """Yield what arrived together, in windows; do not wait for a window to fill."""
        window: list[_Asked] = []
        for line in lines:
            self._lines += 1
            if line is not None and not line.strip():
                continue
            window.append(self._read(line))
            if len(window) == _WINDOW:
                yield window
                window = []
        if window:
            yield window

    def _read(self, line: bytes | None) -> _Asked:
        settings = self._visit.parts.settings
        own: dict[str, Any] = {}
        try:
            if line is None:
                limit = settings.max_body_bytes
                raise GatewayError(413, "line_too_long", f"the line has more than {limit} bytes")
            given = body.parse(line, _line)
            text = given if isinstance(given, str) else given.text
            if isinstance(given, _Line) and "id" in given.model_fields_set:
                own = {"id": _finite(given.id)}
            body.check_text(text, settings)
        except GatewayError as error:
            return _Asked(self._lines, None, own, error)
        return _Asked(self._lines, text, own)

    async def _answer(self, window: Sequence[_Asked]) -> bytes:
        visit = self._visit
        await visit.parts.limiter.wait(visit.identity.bucket)
        good = [asked for asked in window if asked.text is not None]
        answered: dict[int, bytes] = {}
        if good:
            answered = await self._ask(good)
        return b"".join(
            answered[asked.number]
            if asked.number in answered
            else _error_line(asked.number, asked.own, asked.error, visit.log.request_id)
            for asked in window
        )

    async def _ask(self, asked: list[_Asked]) -> dict[int, bytes]:
        """Return results by line number."""
        visit = self._visit
        texts = [line.text or "" for line in asked]
        request = Texts(visit.caller, visit.log.request_id, texts, visit.log.texts)
        visit.log.texts += len(texts)
        try:
            answers = await visit.parts.service.answer(request)
        except (ClientError, GatewayError) as error:
            failure = error if isinstance(error, GatewayError) else from_model_server(error)
            return {
                line.number: _error_line(line.number, line.own, failure, visit.log.request_id)
                for line in asked
            }
        visit.log.model_version, visit.log.role = answers.version, answers.role
        return {
            line.number: orjson.dumps(
                {
                    "line": line.number,
                    **line.own,
                    "prediction_id": request.prediction_id(index),
                    "label": answer.label,
                    "score": answer.score,
                    "scores": answer.scores,
                    "model_version": answers.version,
                    "stored": answers.stored,
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for index, (line, answer) in enumerate(zip(asked, answers.predictions, strict=True))
        }


def _error_line(
    number: int, own: dict[str, Any], error: GatewayError | None, request_id: str
) -> bytes:
    assert error is not None
    content = {"line": number, **own, **error_body(error.code, error.message, request_id)}
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def _finite(value: Any) -> Any:
    """Return the caller's id if JSON can represent it.

    Raises:
        GatewayError: 422, it cannot.
    """
    try:
        orjson.dumps(value)
    except (TypeError, ValueError):
        value = None
        raise GatewayError(422, "invalid_request", "JSON cannot represent the id") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise GatewayError(422, "invalid_request", "the id is not a finite number")
    return value
