"""uvicorn's HTTP parser with limits on the parts of a request that the application does not read.

uvicorn limits neither the size of the request line, the headers and the trailers of a chunked body,
nor the time that they take to arrive, so one client could exhaust the memory or hold connections
open. The application limits the body while it reads it.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.protocol.connections import BoundedServerState

#: Maximum size of the request line and headers together.
MAX_HEAD_BYTES = 64 * 1024
#: Time limit from the connection, or the first byte of a later request, to the end of the headers.
HEAD_TIMEOUT_SECONDS = 30.0
#: Maximum size of what follows the content of a chunked body; trailers are dropped.
MAX_TRAILER_BYTES = 64 * 1024
#: How long the rest of a body may take once the response is sent. Closing at once would reset the
#: connection of a client that sends headers and body separately, before it has read the response.
LINGER_SECONDS = 5.0

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
_END = b"content-length: 0\r\nconnection: close\r\n\r\n"


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection, closed when a limit is exceeded."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_bytes = 0
        self._reading_head = True
        self._reading_body = False
        self._bytes_after_content = 0
        self._keep_alive_until = 0.0
        #: Closes the connection unless the head, or the rest of the body, arrives in time.
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the timer when a client connects, or close the connection if there are too many."""
        super().connection_made(transport)
        state = self.server_state
        if isinstance(state, BoundedServerState) and state.refuses_another():
            transport.abort()
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer when the connection ends."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes of one or more requests, or refuse headers that are too large."""
        if self._reading_head:
            self._head_bytes += len(data)
        elif self._reading_body:
            self._bytes_after_content += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._reading_head and self._head_bytes > MAX_HEAD_BYTES:
            self.transport.write(_TOO_LARGE + _END)
            self.transport.close()
        elif self._reading_body and self._bytes_after_content > MAX_TRAILER_BYTES:
            self.transport.close()
        elif self.timeout_keep_alive_task is None and self._is_idle():
            # The parser ignores line breaks between requests, but uvicorn stops its timer for them.
            self.timeout_keep_alive_task = self.loop.call_at(
                self._keep_alive_until, self.timeout_keep_alive_handler
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; drop a trailer, which uvicorn would add to the headers."""
        if self._reading_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body to the application."""
        self._bytes_after_content = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the timer when a request is complete."""
        self._reading_body = False
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Close the connection soon if the response was sent before the end of the body."""
        self._keep_alive_until = self.loop.time() + self.timeout_keep_alive
        awaits_body = self._reading_body and not self.pipeline
        super().on_response_complete()
        if awaits_body and not self.transport.is_closing():
            self._start_timer(LINGER_SECONDS)

    def on_message_begin(self) -> None:
        """Start the timer for a further request on the connection."""
        super().on_message_begin()
        if not self._reading_head:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """Stop the timer when the body begins."""
        self._reading_head = False
        self._reading_body, self._bytes_after_content = True, 0
        self._stop_timer()
        super().on_headers_complete()

    def _is_idle(self) -> bool:
        busy = self._reading_head or self._reading_body or bool(self.pipeline)
        return not busy and self.cycle is not None and self.cycle.response_complete

    def _expect_head(self) -> None:
        self._reading_head, self._head_bytes = True, 0
        self._start_timer(HEAD_TIMEOUT_SECONDS)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
