"""``bert gateway`` in a process of its own."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.serving.bert_server import environment

_START_SECONDS = 120


@dataclasses.dataclass
class LiveGateway:
    """A running ``bert gateway`` process.

    Attributes:
        url: its URL, without a trailing slash.
        log: its JSON log lines so far.
        folder: its working directory.
    """

    process: subprocess.Popen[str]
    url: str
    log: list[dict[str, Any]]
    folder: Path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", "gateway", "--port", "0", *arguments]


@contextlib.contextmanager
def live_gateway(folder: Path, server_url: str, *assignments: str) -> Iterator[LiveGateway]:
    """Run a gateway; ``assignments`` are ``key=value`` of the config."""
    options = [word for assignment in assignments for word in ("--set", assignment)]
    process = subprocess.Popen(
        command("--server_url", server_url, *options),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    log: list[dict[str, Any]] = []
    errors = process.stderr

    def read_log() -> None:
        for line in errors:
            try:
                log.append(json.loads(line))
            except ValueError:
                log.append({"event": line})

    reader = threading.Thread(target=read_log, daemon=True)
    reader.start()
    watchdog = threading.Timer(_START_SECONDS, process.kill)
    watchdog.start()
    try:
        url = next((line.split()[1] for line in process.stdout if "  page" in line), None)
        watchdog.cancel()
        assert url, f"it ended: {log}"
        yield LiveGateway(process, url.rstrip("/"), log, folder)
    finally:
        watchdog.cancel()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join(5)
