"""The model server: models, gRPC and REST in one process, until a signal stops it.

SIGTERM or SIGINT drains the server: ``/readyz`` and grpc.health report it at once, new connections
are refused, running calls are answered, and ``run`` returns 0. A second signal ends the process at
once.
"""

import asyncio
import contextlib
import dataclasses
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from modules.contract.errors import UserError
from serving.protocol.http_server import HttpServer, listen, loop_factory
from serving.server import monitoring_config
from serving.server.grpc_api.grpc_server import GrpcServer
from serving.server.requests.service import InferenceService
from serving.server.rest.rest import RestApplication
from serving.server.settings import ServerSettings
from serving.server.versions.manager import ModelManager

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_EXIT_MISUSE = 2


@dataclasses.dataclass(frozen=True)
class Endpoints:
    """Address and ports that a server listens on.

    Attributes:
        host: address.
        port: gRPC port.
        rest_api_port: HTTP port.
    """

    host: str
    port: int
    rest_api_port: int


#: Function that receives the endpoints of the server.
Callback = Callable[[Endpoints], None]


def run(
    settings: ServerSettings,
    on_listening: Callback | None = None,
    on_ready: Callback | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT. Call it from the main thread.

    Args:
        settings: settings of the server.
        on_listening: called when both ports answer; models may still be loading.
        on_ready: called from another thread when every model is available and warm.

    Returns:
        The exit code: 0 after a drain; 2 if a port is in use or the configuration is invalid, with
        the reason on stderr.
    """
    try:
        server = ModelServer(settings)
    except UserError as error:
        print(error, file=sys.stderr)
        return _EXIT_MISUSE
    return server.serve(on_listening, on_ready)


class ModelServer:
    """A server and its parts.

    Args:
        settings: settings of the server.

    Raises:
        UserError: a port is in use, or a configuration file is invalid.

    Attributes:
        endpoints: address and ports that it listens on.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        monitoring = monitoring_config.read(settings.monitoring_config_file)
        self._manager = ModelManager(settings)
        service = InferenceService(
            self._manager, settings.max_request_examples, settings.max_request_bytes
        )
        self._rest = RestApplication(
            service, monitoring, settings.request_timeout_seconds, settings.max_request_bytes
        )
        with _opening("rest_api_port", settings.host, settings.rest_api_port):
            self._socket = listen(settings.host, settings.rest_api_port)
        try:
            with _opening("port", settings.host, settings.port):
                self._grpc = GrpcServer(
                    service,
                    settings.host,
                    settings.port,
                    settings.grpc_max_threads,
                    settings.max_request_bytes,
                    settings.allow_reload_config,
                )
        except UserError:
            self._socket.close()
            raise
        rest_port = self._socket.getsockname()[1]
        self.endpoints = Endpoints(settings.host, self._grpc.port, rest_port)
        self._stopped = threading.Event()

    def serve(self, on_listening: Callback | None = None, on_ready: Callback | None = None) -> int:
        """Serve until a signal. See ``run``."""
        try:
            self._manager.start()
        except UserError as error:
            print(error, file=sys.stderr)
            self._socket.close()
            self._grpc.stop(0)
            self._manager.stop(0)
            return _EXIT_MISUSE
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._serve(on_listening, on_ready))
        finally:
            self._manager.stop(0)
        return 0

    async def _serve(self, on_listening: Callback | None, on_ready: Callback | None) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, stop)
        http_server = HttpServer(self._rest, self._settings.drain_seconds)
        serving = asyncio.create_task(http_server.serve([self._socket]))
        self._grpc.start()
        gc.collect()
        gc.freeze()  # imported modules stay: exclude them from later collections
        if on_listening:
            on_listening(self.endpoints)
        if on_ready:
            threading.Thread(target=self._report_ready, args=(on_ready,), daemon=True).start()
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        await self._drain(http_server)
        await serving

    def _on_signal(self, stop: asyncio.Event) -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    async def _drain(self, http_server: HttpServer) -> None:
        self._stopped.set()
        self._rest.draining = True
        self._grpc.drain()
        http_server.should_exit = True
        await asyncio.to_thread(self._grpc.stop, self._settings.drain_seconds)

    def _report_ready(self, on_ready: Callback) -> None:
        while not self._stopped.is_set():
            if self._manager.wait_until_ready(1):
                on_ready(self.endpoints)
                return


@contextlib.contextmanager
def _opening(name: str, host: str, port: int) -> Iterator[None]:
    """Turn the failure to open a port into advice.

    Raises:
        UserError: the port cannot be opened.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or "it is in use"
        raise UserError(
            f"cannot listen on {host}:{port}: {reason}. Set --{name} to another port, or to 0 for "
            "any free port"
        ) from error
