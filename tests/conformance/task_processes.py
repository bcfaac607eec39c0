"""Runs the commands of containers as local processes."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Tasks:
    """Processes of tasks, in one folder.

    Attributes:
        folder: what the container's working directory is.
        fresh: tasks that get an interpreter of their own instead of a fork of the zygote.
    """

    folder: Path
    fresh: Collection[str] = ()
    _zygote: subprocess.Popen[str] | None = None

    def run(self, task: str, words: list[str], log: Path, **variables: str) -> int:
        """Run a container's command and arguments; returns the exit code."""
        assert words[:2] == ["python", "-m"], words[:2]
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"} | variables
        if task in self.fresh:
            with log.open("w") as file:
                return subprocess.run(
                    [sys.executable, *words[1:]],
                    cwd=self.folder,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    check=False,
                ).returncode
        zygote = self._start()
        order = {"words": words, "env": env, "folder": str(self.folder), "log": str(log)}
        assert zygote.stdin is not None
        assert zygote.stdout is not None
        zygote.stdin.write(json.dumps(order) + "\n")
        zygote.stdin.flush()
        return int(zygote.stdout.readline())

    def close(self) -> None:
        """End the zygote."""
        if self._zygote is not None:
            assert self._zygote.stdin is not None
            self._zygote.stdin.close()
            self._zygote.wait()

    def _start(self) -> subprocess.Popen[str]:
        if self._zygote is None:
            self._zygote = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("task_zygote.py"))],
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self._zygote
