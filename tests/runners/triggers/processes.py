"""Real processes for the tests: small runs, watchers, and functions that wait for them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]

#: A run: records its start and the number of other live runs; ends once the file "go" exists.
RUN = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
mine = folder / f"alive-{os.getpid()}"
mine.touch()
others = [path for path in folder.glob("alive-*") if path != mine]
with open(folder / "begun", "a") as file:
    file.write(f"{os.getpid()} {len(others)}\\n")
deadline = time.monotonic() + 120
while not (folder / "go").exists() and time.monotonic() < deadline:
    time.sleep(0.02)
mine.unlink()
sys.exit(int((folder / "go").read_text() or 0))
"""

#: ``bert watch``, whose runs are the process above.
WATCH = """
import functools, pathlib, sys
from cli.screens.decisions import event_printer
from runners.triggers import loop
from runners.triggers.config_source import ConfigSource
from runners.triggers.job import Step
from runners.triggers.launch import Launcher
from runners.triggers.watcher import Watcher
run, folder, *assignments = sys.argv[1:]
steps = lambda source, runner, job: [Step("run", [sys.executable, "-c", run, folder])]
launcher = functools.partial(Launcher, steps=steps)
source = ConfigSource(None, tuple(assignments))
with loop.stop_signals() as wait:
    number = loop.watch(
        lambda: Watcher(source, make_launcher=launcher), event_printer(as_json=True), wait
    )
sys.exit(loop.exit_code(number))
"""


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition holds; fail if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.02)


def begun(folder: Path) -> list[tuple[int, int]]:
    """Return process id and number of other live runs at its start, of each run that began."""
    with contextlib.suppress(FileNotFoundError):
        lines = (folder / "begun").read_text().splitlines()
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]
    return []


def alive(process_id: int) -> bool:
    """Return whether a process is alive; a zombie is not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{process_id}/stat").read_text()
        return status.rpartition(")")[2].split()[0] != "Z"
    return False


class WatchProcess:
    """``bert watch`` in a process of its own."""

    def __init__(self, folder: Path, assignments: Sequence[str]) -> None:
        self._output = open(folder / f"watch-{time.monotonic_ns()}.jsonl", "w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-c", WATCH, RUN, str(folder), *assignments],
            cwd=ROOT,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def events(self) -> list[dict]:
        """Return the events printed so far."""
        text = Path(self._output.name).read_text()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def reported(self, words: str) -> bool:
        """Return whether it has printed an event with these words."""
        return any(words in event["sentence"] for event in self.events())

    def kill(self) -> None:
        """Kill it without warning, as the kernel would."""
        self.process.kill()
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def close(self) -> None:
        """Kill it if it is still running."""
        if self.process.poll() is None:
            self.kill()
        self._output.close()


@contextlib.contextmanager
def watching(folder: Path, assignments: Sequence[str], count: int = 1) -> Iterator[list]:
    """Start watchers, and kill them afterwards."""
    watchers = [WatchProcess(folder, assignments) for _ in range(count)]
    try:
        yield watchers
    finally:
        for watcher in watchers:
            watcher.close()


def end_runs(folder: Path) -> None:
    """End the runs that the tests' watchers started, also those that have not begun yet."""
    (folder / "go").touch()
    for process_id, _ in begun(folder):
        with contextlib.suppress(ProcessLookupError):
            if alive(process_id) and str(folder) in _command(process_id):
                os.kill(process_id, signal.SIGKILL)


def _command(process_id: int) -> str:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{process_id}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""
