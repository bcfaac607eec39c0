"""Local processes that run the commands of containers."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class TaskZygote:
    """The process of ``task_zygote.py``, started with the first task."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, order: dict[str, object]) -> int:
        """Run a task in a fork, and return its exit code."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("task_zygote.py"))],
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()


@dataclasses.dataclass
class Tasks:
    """Runner of tasks in one folder.

    Attributes:
        folder: the container's working directory.
        zygote: the process that forks for each task.
        fresh: tasks that get their own interpreter instead of a fork.
    """

    folder: Path
    zygote: TaskZygote
    fresh: Collection[str] = ()

    def run(self, task: str, words: list[str], log: Path, **variables: str) -> int:
        """Run a container's command and arguments, and return the exit code."""
        assert words[:2] == ["python", "-m"], words[:2]
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"} | variables
        if task not in self.fresh:
            return self.zygote.run(
                {"words": words, "env": env, "folder": str(self.folder), "log": str(log)}
            )
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
