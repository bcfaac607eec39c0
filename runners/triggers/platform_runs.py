"""Runs on other platforms: submitted as by ``bert submit``, later queried by their id."""

import dataclasses
import json
import sys
from pathlib import Path

from modules.contract.atomic_file import write_text
from pipeline.config import Config
from runners.remote.platform import RunState, SubmittedRun, platform, submit
from runners.triggers.config_source import ConfigSource


class PlatformRuns:
    """States of runs, read from a platform over one connection.

    Args:
        config: gives the platforms' addresses.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._runs: dict[tuple[str, str], SubmittedRun] = {}

    def state(self, runner: str, run_id: str) -> RunState:
        """Return the state of a run.

        Raises:
            UserError: the platform cannot be queried.
        """
        key = runner, run_id
        if key not in self._runs:
            self._runs = {key: platform(runner).connect(self._config).find(run_id)}
        return self._runs[key].state()


def main(runner: str, file: Path, source: ConfigSource) -> None:
    """Compile and submit the pipeline, and write the run's name and URL to a file.

    Raises:
        UserError: the pipeline cannot be compiled or submitted.
    """
    run = submit(runner, source.load())
    write_text(file, json.dumps({"name": run.name, "url": run.url}))
    print(f"submitted {run.name}\n  {run.url}")


def command(runner: str, file: Path, source: ConfigSource) -> list[str]:
    """Return the command that calls ``main`` in a process of its own."""
    order = {"runner": runner, "file": str(file), "source": dataclasses.asdict(source)}
    return [sys.executable, "-m", "runners.triggers.platform_runs", json.dumps(order)]


if __name__ == "__main__":
    from modules.contract.errors import UserError

    _order = json.loads(sys.argv[1])
    _source = ConfigSource(_order["source"]["file"], tuple(_order["source"]["assignments"]))
    try:
        main(_order["runner"], Path(_order["file"]), _source)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
