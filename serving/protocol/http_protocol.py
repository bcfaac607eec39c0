"""uvicorn's HTTP parser with limits on the request line and headers.

uvicorn limits neither their size nor the time that they take to arrive, so one client could exhaust
the memory or hold connections open.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Maximum size of the request line and headers together.
MAX_HEAD_BYTES = 64 * 1024
#: Time limit from the connection, or the first byte of a later request, to the end of the headers.
HEAD_TIMEOUT_SECONDS = 30.0

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
_END = b"content-length: 0\r\nconnection: close\r\n\r\n"


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection, closed when a limit is exceeded."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_bytes = 0
        self._reading_head = True
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the timer when a client connects."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer when the connection ends."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes of one or more requests, or refuse headers that are too large."""
        if self._reading_head:
            self._head_bytes += len(data)
        super().data_received(data)
        too_large = self._reading_head and self._head_bytes > MAX_HEAD_BYTES
        if too_large and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE + _END)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Start the timer for a further request on the connection."""
        super().on_message_begin()
        if not self._reading_head:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """Stop the timer when the body begins."""
        self._reading_head = False
        self._stop_timer()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._reading_head, self._head_bytes = True, 0
        self._stop_timer()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
