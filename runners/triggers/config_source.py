"""Where the watcher's config comes from, so that the runs it starts read the same."""

import dataclasses
import os
from pathlib import Path

from pipeline.config import Config, load


@dataclasses.dataclass(frozen=True)
class ConfigSource:
    """The options of a command.

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
        """The options again, for a command that is started from here."""
        file = [f"--config={self.file}"] if self.file else []
        return [*file, *(f"--set={assignment}" for assignment in self.assignments)]


def state_folder(config: Config) -> Path:
    """Where the watcher keeps its lock, and logs and ends of runs, on this machine.

    Under the pipeline's root, or, when that is remote, in the user's state folder.
    """
    root = config.pipeline_root()
    if "://" not in root:
        return Path(root) / "triggers"
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "bert" / config.pipeline.name / "triggers"
