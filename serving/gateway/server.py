"""Runs the gateway on uvicorn until a signal stops it."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator

from modules.contract.addresses import authority, local_host
from modules.contract.errors import UserError
from serving.gateway.application import make_application
from serving.gateway.parts import Parts, ReadEvaluation
from serving.gateway.request_log import JsonFormatter
from serving.gateway.settings import GatewaySettings
from serving.protocol.http_server import HttpServer, listen, loop_factory
from serving.records.api_keys import ApiKeys
from serving.records.database import Database

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Time for a database that starts together with the gateway, or restarts after a crash.
DATABASE_PATIENCE_SECONDS = 120.0


def run(
    settings: GatewaySettings,
    read_evaluation: ReadEvaluation,
    on_listening: Callable[[str, bool], None],
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal exits at once.

    Args:
        settings: the gateway's settings.
        read_evaluation: returns the evaluation of a version.
        on_listening: called once requests are answered, with the URL and whether callers are
            admitted without a key.

    Raises:
        UserError: the database cannot be opened, the port is in use, or other machines can reach
            the address while no API key exists.
    """
    database = Database(settings.database_url, DATABASE_PATIENCE_SECONDS)
    try:
        keys = ApiKeys(database)
        check_keys(settings, keys)
        keyless = settings.may_admit_without_key and not keys.exist()
        with (
            contextlib.closing(_listen(settings)) as listening,
            _json_log(),
            asyncio.Runner(loop_factory=loop_factory()) as runner,
        ):
            runner.run(
                _serve(
                    settings,
                    database,
                    read_evaluation,
                    listening,
                    lambda url: on_listening(url, keyless),
                )
            )
    finally:
        database.close()


def check_keys(settings: GatewaySettings, keys: ApiKeys) -> None:
    """Refuse to listen for other machines while no API key exists.

    Raises:
        UserError: the address is not a loopback address, and no key exists.
    """
    if not settings.is_local and not keys.exist():
        raise UserError(
            f"gateway.host {settings.host} can be reached from other machines, but no API key "
            "exists; create one with `bert keys create --name NAME --scope predict`, or set "
            "gateway.host=127.0.0.1"
        )


async def _serve(
    settings: GatewaySettings,
    database: Database,
    read_evaluation: ReadEvaluation,
    listening: socket.socket,
    on_listening: Callable[[str], None],
) -> None:
    parts = Parts(settings, database, read_evaluation)
    server = HttpServer(make_application(parts), settings.drain_seconds, lifespan="on")
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if parts.draining:
            os._exit(1)
        parts.draining = True
        server.should_exit = True

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    serving = asyncio.create_task(server.serve([listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if server.started:
        on_listening(f"http://{authority(local_host(settings.host), listening.getsockname()[1])}")
    await serving


@contextlib.contextmanager
def _json_log() -> Iterator[None]:
    """Write the log to standard error, as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    loggers = [logging.getLogger(name) for name in ("serving", "uvicorn.error")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if logger.name == "serving" else logging.WARNING)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True


def _listen(settings: GatewaySettings) -> socket.socket:
    host, port = settings.host, settings.port
    try:
        return listen(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"the gateway cannot listen on {host}:{port}: {reason}; set gateway.port to another "
            "port, or 0 for a free one"
        ) from error
