"""grpc.health.v1 service: SERVING while the models have an available version.

``Check`` reports the current state. ``Watch`` is updated by a thread that polls the watched models
every second.
"""

import threading
from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from serving.protocol.errors import ServingError
from serving.protocol.servable import Models, State

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_POLL_SECONDS = 1.0
#: Callers choose the names. Watchers of further names get the first state, but no changes.
_MAX_WATCHED = 256


class ModelHealth(health.HealthServicer):
    """The health service.

    Args:
        models: the served models.
        services: names of services that are healthy when every model is, in addition to "".
    """

    def __init__(self, models: Models, services: Iterable[str]) -> None:
        super().__init__(experimental_non_blocking=True)
        self._models = models
        self._services = {"", *services}
        self._watched: dict[str, int] = {}
        self._draining = False
        self._refreshing = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="grpc-health", daemon=True)

    def add_to(self, server: Any) -> None:
        """Register with a gRPC server."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    def start(self) -> None:
        """Start to update the watchers."""
        self._thread.start()

    def drain(self) -> None:
        """Report NOT_SERVING for everything."""
        self._draining = True
        for name in list(self._watched):
            self._refresh(name)

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped.set()

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
        """Return the health of a service or model."""
        status = self._status(request.service)
        if status == _UNKNOWN:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            return health_pb2.HealthCheckResponse()
        return health_pb2.HealthCheckResponse(status=status)

    def Watch(self, request: Any, context: Any, send_response_callback: Any = None) -> Any:  # noqa: N802
        """Send the health of a service or model, now and whenever it changes."""
        if request.service in self._watched or len(self._watched) < _MAX_WATCHED:
            self._refresh(request.service)
        return super().Watch(request, context, send_response_callback)

    def _status(self, name: str) -> int:
        if name in self._services:
            serving = self._models.ready()
        else:
            try:
                versions = self._models.statuses(name)
            except ServingError:
                return _UNKNOWN
            serving = any(version.state is State.AVAILABLE for version in versions)
        return _SERVING if serving and not self._draining else _NOT_SERVING

    def _refresh(self, name: str) -> None:
        """Update the watchers of a name if its status has changed."""
        status = self._status(name)
        with self._refreshing:
            if self._watched.get(name) != status:
                self._watched[name] = status
                self.set(name, status)

    def _poll(self) -> None:
        while not self._stopped.wait(_POLL_SECONDS):
            for name in list(self._watched):
                self._refresh(name)
