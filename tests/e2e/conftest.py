"""Workplaces: folders in which the real ``bert`` command runs on the bundled sample."""

import contextlib
import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_bert import write_tiny_bert

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "data" / "sample" / "reviews.csv"

#: Node -> its state in the events of a run: "ran", "cached", "failed" or "skipped".
States = dict[str, str]


@dataclasses.dataclass
class Workplace:
    """Folder with data and settings, in which the ``bert`` command runs."""

    folder: Path
    settings: dict[str, str]
    source: Path = REPOSITORY

    @property
    def root(self) -> Path:
        return self.folder / "pipeline_root"

    @property
    def models(self) -> Path:
        return self.folder / self.settings.get("pusher.base_directory", "serving_models/bert")

    def versions(self) -> list[str]:
        """Return the names of the version folders that a server would see."""
        if not self.models.is_dir():
            return []
        return sorted(entry.name for entry in self.models.iterdir() if entry.name.isdigit())

    def start(self, *arguments: str, **settings: object) -> subprocess.Popen[str]:
        """Start ``bert`` in the folder."""
        values = {**self.settings, **{k.replace("__", "."): v for k, v in settings.items()}}
        options = [f"--set={key}={value}" for key, value in values.items()]
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", *arguments, *options],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.source), "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def bert(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """Run ``bert`` in the folder and wait for it."""
        process = self.start(*arguments, **settings)
        output, _ = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def run(self, *arguments: str, **settings: object) -> States:
        """Run ``bert run``, which must succeed, and return the state of each node."""
        done = self.bert("run", *arguments, **settings)
        assert done.returncode == 0, done.stdout + self.log()
        return self.states()

    def kill_in(self, node: str, **settings: object) -> None:
        """Start ``bert run`` and ``kill -9`` it once ``node`` has started."""
        known = set(self._event_files())
        process = self.start("run", **settings)
        try:
            self._wait_for(process, node, known)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.communicate()

    def _wait_for(self, process: subprocess.Popen[str], node: str, known: set[Path]) -> None:
        while process.poll() is None:
            for path in set(self._event_files()) - known:
                started = [e["node"] for e in _events(path) if e["event"] == "node_started"]
                if node in started:
                    return
            time.sleep(0.02)
        pytest.fail(f"the run ended before {node} started:\n{self.log()}")

    def states(self) -> States:
        """Return the states of the last run's nodes."""
        events = _events(self._event_files()[-1])
        return {e["node"]: e["state"] for e in events if e["event"] == "node_finished"}

    def decision(self) -> dict:
        """Return the newest decision of the Evaluator."""
        files = self.root.glob("Evaluator/evaluation/*/decision.json")
        newest = max(files, key=lambda path: int(path.parent.name))
        return json.loads(newest.read_text())

    def log(self) -> str:
        """Return the end of the last run's log."""
        logs = sorted((self.root / "logs").glob("*.log"))
        return logs[-1].read_text(errors="replace")[-6000:] if logs else "(no log)"

    def _event_files(self) -> list[Path]:
        return sorted((self.root / "logs").glob("*.events.jsonl"))


def _events(path: Path) -> list[dict]:
    whole = path.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def take_rows(source: Path, target: Path, count: int) -> None:
    """Copy the first ``count`` rows of a CSV."""
    with source.open(newline="", encoding="utf-8") as file:
        rows = [row for row, _ in zip(csv.reader(file), range(count + 1), strict=False)]
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """Create a workplace with the tiny encoder, 200 rows and gates that pass a weak model."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_bert(folder / "encoder")
    take_rows(SAMPLE, folder / "reviews.csv", 200)
    return Workplace(
        folder,
        {
            "data.path": "reviews.csv",
            "data.slice_columns": '["domain"]',
            "pusher.base_directory": "models",
            "trainer.encoder": "encoder",
            "trainer.max_length": "32",
            "trainer.epochs": "1",
            "evaluator.floors": '[{metric = "accuracy", min = 0.0}]',
        },
    )
