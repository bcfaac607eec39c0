"""Receives the body of an HTTP request: bounded in size and time, unpacked when it is gzip."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class BodyTooLargeError(Exception):
    """More bytes than a request may have."""


class ClientDisconnectedError(Exception):
    """The client left before its request was complete."""


async def read(
    receive: Receive, headers: list[tuple[bytes, bytes]], max_bytes: int, timeout_seconds: float
) -> bytes:
    """The body, unpacked.

    What cannot be unpacked counts as empty, as TensorFlow Serving has it.

    Args:
        receive: of ASGI.
        headers: of the request, names in lower case.
        max_bytes: most that the body may have, packed and unpacked.
        timeout_seconds: longest that it may take to arrive.

    Raises:
        BodyTooLargeError: it has more; the rest is not read.
        TimeoutError: it took longer.
        ClientDisconnectedError: the client left.
    """
    length, encoding = b"", b""
    for name, value in headers:
        if name == b"content-length":
            length = value
        elif name == b"content-encoding":
            encoding = value
    if length.isdigit() and (len(length) > 18 or int(length) > max_bytes):
        raise BodyTooLargeError
    body = await _received(receive, max_bytes, timeout_seconds)
    if b"gzip" in encoding:
        if len(body) > _SMALL_BYTES:
            return await asyncio.to_thread(unpacked, body, max_bytes)
        return unpacked(body, max_bytes)
    return body


#: Unpacking so much takes less time than handing it to a thread.
_SMALL_BYTES = 16 * 1024


async def _received(receive: Receive, max_bytes: int, timeout_seconds: float) -> bytes:
    async with asyncio.timeout(timeout_seconds):
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnectedError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > max_bytes:
                raise BodyTooLargeError
            more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def unpacked(body: bytes, max_bytes: int) -> bytes:
    """What a gzip body holds; b"" when it is no gzip or ends too early.

    Raises:
        BodyTooLargeError: more than ``max_bytes``.
    """
    decompressor = zlib.decompressobj(_GZIP_WINDOW)
    try:
        content = decompressor.decompress(body, max_bytes + 1)
    except zlib.error:
        return b""
    if len(content) > max_bytes:
        raise BodyTooLargeError
    return content if decompressor.eof else b""
