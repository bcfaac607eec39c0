"""Runs on other platforms: submitted as ``bert submit`` does, asked for by their id later."""

import dataclasses
import json
import sys
from pathlib import Path

from modules.contract.atomic_file import write_text
from pipeline.config import Config
from runners.remote.platform import RunState, SubmittedRun, platform, submit
from runners.triggers.config_source import ConfigSource


class PlatformRuns:
    """Asks a platform for the state of runs, over one connection.

    Args:
        config: names the platforms' addresses.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._runs: dict[tuple[str, str], SubmittedRun] = {}

    def state(self, runner: str, run_id: str) -> RunState:
        """How a run stands.

        Raises:
            UserError: the platform cannot be asked.
        """
        key = runner, run_id
        if key not in self._runs:
            self._runs = {key: platform(runner).connect(self._config).find(run_id)}
        return self._runs[key].state()


def main(runner: str, file: Path, source: ConfigSource) -> None:
    """Compile, submit, and write the run's name and address to a file.

    Raises:
        UserError: it cannot be compiled or submitted.
    """
    run = submit(runner, source.load())
    write_text(file, json.dumps({"name": run.name, "url": run.url}))
    print(f"submitted {run.name}\n  {run.url}")


def command(runner: str, file: Path, source: ConfigSource) -> list[str]:
    """The command line that ends in ``main``."""
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
