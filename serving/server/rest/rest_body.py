"""Reading of request bodies: bounded in size and time, and decompressed if gzip-encoded."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class BodyTooLargeError(Exception):
    """The body is larger than allowed."""


class ClientDisconnectedError(Exception):
    """The client disconnected before its request was complete."""


async def read(
    receive: Receive, headers: list[tuple[bytes, bytes]], max_bytes: int, timeout_seconds: float
) -> bytes:
    """Read and decompress a body.

    A body that cannot be decompressed counts as empty, as in TensorFlow Serving.

    Args:
        receive: ASGI's receive function.
        headers: headers of the request, with names in lower case.
        max_bytes: maximum size of the body, before and after decompression.
        timeout_seconds: time limit for the body to arrive.

    Raises:
        BodyTooLargeError: the body is too large; the rest is not read.
        TimeoutError: the body did not arrive in time.
        ClientDisconnectedError: the client disconnected.
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


#: Decompressing smaller bodies takes less time than passing them to a thread.
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
    """Decompress a gzip body; return b"" if it is not gzip or is truncated.

    Raises:
        BodyTooLargeError: the content is larger than ``max_bytes``.
    """
    decompressor = zlib.decompressobj(_GZIP_WINDOW)
    try:
        content = decompressor.decompress(body, max_bytes + 1)
    except zlib.error:
        return b""
    if len(content) > max_bytes:
        raise BodyTooLargeError
    return content if decompressor.eof else b""
