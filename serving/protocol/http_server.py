"""The HTTP server of gateway and model server: uvicorn, drained by its caller."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any, Literal

import uvicorn

from serving.protocol.connections import BoundedServerState, default_bound
from serving.protocol.http_protocol import BoundedHttpProtocol

_BACKLOG = 1024


class HttpServer(uvicorn.Server):
    """uvicorn without its own signal handlers and logging set-up.

    Set ``should_exit`` to drain it.

    Args:
        application: an ASGI 3 application.
        drain_seconds: how long running requests may take once it drains; at least 1.
        lifespan: whether the application has start-up and shutdown events.
        max_connections: maximum number of open connections; None for as many as the limit of open
            files allows. Further ones are closed, and counted in the log.
    """

    def __init__(
        self,
        application: Any,
        drain_seconds: float,
        lifespan: Literal["on", "off"] = "off",
        max_connections: int | None = None,
    ) -> None:
        config = uvicorn.Config(
            application,
            http=BoundedHttpProtocol,
            loop="none",
            ws="none",
            lifespan=lifespan,
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(drain_seconds)),
        )
        super().__init__(config)
        self._state = BoundedServerState(max_connections or default_bound())
        self.server_state = self._state

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        asyncio.get_running_loop().set_exception_handler(self._state.handle_exception)
        await super().startup(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the caller."""
        yield


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return uvloop's event loop if it is installed.

    Without free descriptors, asyncio's own loop tries and reports 1024 times whether it can accept
    a connection; uvloop closes the connection.
    """
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; ``port`` 0 takes a free one.

    Raises:
        OSError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
