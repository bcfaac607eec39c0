"""A bound on open connections, and a log of refused ones that cannot fill the disk."""

import asyncio
import errno
import logging
import resource
from typing import Any

from uvicorn.server import ServerState

_log = logging.getLogger(__name__)
_LARGEST_BOUND = 10_000
#: Descriptors for files, databases, workers, and connections to other services.
_OTHER_DESCRIPTORS = 256
_LOG_SECONDS = 1.0
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def default_bound() -> int:
    """Return how many connections the process's descriptors allow: at most 10,000."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _LARGEST_BOUND
    return min(max(limit - _OTHER_DESCRIPTORS, limit // 2), _LARGEST_BOUND)


class RefusedConnections:
    """Counter of refused connections, which logs at most one line a second."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting = False

    def add(self, reason: str) -> None:
        """Count a refused connection. Call it in the event loop."""
        self._count += 1
        if not self._waiting:
            self._report(reason)

    def _report(self, reason: str) -> None:
        self._waiting = self._count > 0
        if self._waiting:
            _log.warning("refused connections: %d; %s", self._count, reason)
            self._count = 0
            asyncio.get_running_loop().call_later(_LOG_SECONDS, self._report, reason)


class BoundedServerState(ServerState):
    """uvicorn's state of a server, with a bound on its connections.

    Args:
        max_connections: maximum number of open connections.

    Attributes:
        max_connections: maximum number of open connections.
        refused: counter of refused connections.
    """

    def __init__(self, max_connections: int) -> None:
        super().__init__()
        self.max_connections = max_connections
        self.refused = RefusedConnections()

    def refuses_another(self) -> bool:
        """Return whether there are too many connections, and count the refused one."""
        if len(self.connections) <= self.max_connections:
            return False
        self.refused.add(f"{self.max_connections} are open, which is the maximum")
        return True

    def handle_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Count a connection that cannot be accepted; log other exceptions of the event loop."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _EXHAUSTED:
            self.refused.add(f"{error.strerror}; raise the limit of open files (ulimit -n)")
        else:
            loop.default_exception_handler(context)
