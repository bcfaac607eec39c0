"""The source of the watcher's config, passed on to the runs that it starts."""

import dataclasses
import os
from pathlib import Path

from pipeline.config import Config, load


@dataclasses.dataclass(frozen=True)
class ConfigSource:
    """The options of a command that select a config.

    Attributes:
        file: ``--config``.
        assignments: ``--set``.
    """

    file: str | None = None
    assignments: tuple[str, ...] = ()

    def load(self) -> Config:
        """Read the config.

        Raises:
            UserError: an unknown key or a bad value.
        """
        return load(self.file, self.assignments)

    def options(self) -> list[str]:
        """Return the options, for a command that is started from here."""
        file = [f"--config={self.file}"] if self.file else []
        return [*file, *(f"--set={assignment}" for assignment in self.assignments)]


def state_folder(config: Config) -> Path:
    """Return the folder on this machine for the watcher's lock, and the logs and status of runs.

    It is under the pipeline root or, if that is remote, in the user's state folder.
    """
    root = config.pipeline_root()
    if "://" not in root:
        return Path(root) / "triggers"
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "bert" / config.pipeline.name / "triggers"
