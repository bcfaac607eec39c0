"""Output of ``bert serve`` and ``bert gateway``: progress, addresses, and commands to try."""

import json
import logging
import shlex
import time
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.logging import RichHandler
from rich.status import Status

from cli.terminal import duration, program_name, stderr, stdout

if TYPE_CHECKING:
    from serving.client import ModelMetadata
    from serving.gateway.settings import GatewaySettings
    from serving.server.model_server import Endpoints
    from serving.server.ready import ReadyServer

_TEXT = "A warm room, and breakfast until noon."


class ServerDisplay:
    """Display of a server's log on standard error and, once ready, of how to call it.

    Args:
        models: names of the models to serve.
    """

    def __init__(self, models: Collection[str]) -> None:
        self._models = sorted(models)
        self._console: Console = stderr()
        self._status: Status | None = None
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        logger = logging.getLogger("serving")
        logger.setLevel(logging.INFO)
        self._handler = _log_handler(self._console)
        logger.addHandler(self._handler)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_status()
        logging.getLogger("serving").removeHandler(self._handler)

    def listening(self, endpoints: "Endpoints") -> None:
        """Report that both ports are open."""
        line = (
            f"loading {', '.join(self._models)}; ports are open, requests succeed once it is warm"
        )
        if self._console.is_terminal:
            self._status = self._console.status(line)
            self._status.start()
        else:
            self._console.print(line)

    def ready(self, server: "ReadyServer") -> None:
        """Report that every model is ready; called from another thread."""
        self._stop_status()
        print_ready(stdout(), server, time.monotonic() - self._started)

    def _stop_status(self) -> None:
        if self._status is not None:
            self._status.stop()


def print_ready(console: Console, server: "ReadyServer", seconds: float) -> None:
    """Print the server's addresses and commands to try.

    Args:
        console: console to print on.
        server: models and addresses.
        seconds: time since the start.
    """
    lines = [
        ("model", f"{name}, version {metadata.version}" if metadata else name)
        for name, metadata in server.models.items()
    ]
    rest = server.rest_url
    lines += [("REST", rest), ("gRPC", server.grpc_url), ("health", f"{rest}/readyz")]
    lines += [("try", command) for command in try_commands(rest, server.models)]
    console.print(f"Ready in {duration(seconds)}. Press Ctrl-C to drain and stop.")
    _print_lines(console, lines)


def try_commands(rest: str, models: "Mapping[str, ModelMetadata | None]") -> list[str]:
    """Return commands that call the first model and suit its signature.

    Args:
        rest: URL of the server's REST port.
        models: name -> metadata, None if unknown.
    """
    name, metadata = next(iter(models.items()))
    signature = metadata.signatures.get("serving_default") if metadata else None
    url = f"{rest}/v1/models/{name}"
    if signature is None or [tensor.dtype for tensor in signature.inputs.values()] != ["DT_STRING"]:
        return [f"curl {url}/metadata"]
    body = shlex.quote(json.dumps({"instances": [_TEXT]}))
    option = "" if name == "default" else f" --model_name {shlex.quote(name)}"
    return [
        f"curl -d {body} {url}:predict",
        f'{program_name()} predict --url {rest}{option} "{_TEXT}"',
    ]


def _log_handler(console: Console) -> logging.Handler:
    if console.is_terminal:  # share the console, so that the status line stays below the log
        handler: Any = RichHandler(console=console, show_path=False, markup=False)
        handler.highlighter = None
        return handler
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler


def print_listening(url: str, settings: "GatewaySettings") -> None:
    """Print the gateway's addresses and a command to try.

    Args:
        url: URL of the gateway.
        settings: settings of the gateway.
    """
    console = stdout()
    console.print("Ready. Press Ctrl-C to drain and stop.")
    lines = [
        ("page", f"{url}/"),
        ("docs", f"{url}/docs"),
        ("health", f"{url}/readyz"),
        ("model", f"{settings.model_name} at {settings.server_url}"),
        ("try", try_command(url)),
    ]
    _print_lines(console, lines)


def _print_lines(console: Console, lines: Iterable[tuple[str, str]]) -> None:
    for title, line in lines:
        console.print(f"  {title:6} {line}", soft_wrap=True)
    console.file.flush()


def try_command(url: str) -> str:
    """Return a command that calls the gateway."""
    body = shlex.quote(json.dumps({"text": _TEXT}))
    return f"curl --json {body} {url}/v1/predict"
