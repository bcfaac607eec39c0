"""``bert serve`` in a separate process, on free ports, for tests that need a real server."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
START_TIMEOUT_SECONDS = 300


@dataclasses.dataclass
class BertServer:
    """A ready server.

    Attributes:
        lines: lines on standard output until it was ready.
        errors: lines on standard error so far.
    """

    process: subprocess.Popen[str]
    lines: list[str]
    errors: list[str]

    @property
    def rest(self) -> str:
        return self.value("REST")

    @property
    def grpc(self) -> str:
        return self.value("gRPC")

    def value(self, title: str) -> str:
        return next(line.split()[1] for line in self.lines if line.split()[:1] == [title])

    def commands(self) -> list[str]:
        return [line.split("try", 1)[1].strip() for line in self.lines if line.startswith("  try")]

    def stop(self) -> int:
        """Send Ctrl-C and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


def environment() -> dict[str, str]:
    """Return the environment for other commands: this interpreter's ``bert`` is first on PATH."""
    folder = str(Path(sys.executable).parent)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("BERT_")},
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "NO_COLOR": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


@contextlib.contextmanager
def bert_serve(*arguments: str, folder: Path) -> Iterator[BertServer]:
    """Run ``bert serve`` and wait until it reports that it is ready.

    Args:
        arguments: arguments after ``bert serve``.
        folder: working directory.
    """
    command = [sys.executable, "-m", "cli.main", "serve", "--port", "0", "--rest_api_port", "0"]
    process = subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or []), daemon=True)
    reader.start()
    watchdog = threading.Timer(START_TIMEOUT_SECONDS, process.kill)
    watchdog.start()
    try:
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            # The last line. For a model that is not a text classifier, it requests the metadata.
            if line.startswith("  try") and ("/v1/" not in line or "/metadata" in line):
                break
        watchdog.cancel()
        assert lines, f"the server ended, exit code {process.wait()}:\n{''.join(errors)}"
        yield BertServer(process, lines, errors)
    finally:
        watchdog.cancel()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join(5)


def write_classifier(folder: Path) -> None:
    """Export a keyword classifier to ``folder``, in a separate process that imports TensorFlow."""
    script = (
        "import sys; from tests.components.exports import write_export; write_export(sys.argv[1])"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=REPOSITORY,
        env=environment(),
        check=True,
        capture_output=True,
    )
