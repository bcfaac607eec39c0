"""The platforms that a pipeline can be compiled for and submitted to.

A platform is a module of ``runners`` with

- ``SUFFIXES``: legal endings of the compiled file, the default first;
- ``check(config)``: refuses, with a ``UserError``, what cannot run there; imports nothing slow;
- ``compile_pipeline(config) -> str``: the compiled file's text, the same for the same pipeline;
- ``connect(config) -> Connection``: what ``submit`` needs before it compiles, so that a missing
  credential or an unreachable host is known at once.
"""

import dataclasses
import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from modules.contract.errors import UserError
from pipeline.config import Config
from pipeline.config_keys import nearest

#: Name after ``--runner`` -> module.
MODULES = {
    "airflow": "runners.airflow.platform",
    "kubeflow": "runners.kubeflow.platform",
    "vertex": "runners.vertex.platform",
}

#: Seconds between polls of a run.
POLL_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class RunState:
    """How a run stands.

    Attributes:
        state: the platform's own word, such as "RUNNING".
        finished: whether it will change no more.
        succeeded: whether all is done.
        tasks: the platform's word for each task that has begun.
        error: one line, or "".
    """

    state: str
    finished: bool
    succeeded: bool
    tasks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    error: str = ""


class SubmittedRun(Protocol):
    """A run that the platform has taken."""

    name: str
    url: str

    def state(self) -> RunState:
        """Ask the platform how it stands."""


class Connection(Protocol):
    """A way to a platform that has been tried."""

    def submit(self, package: str) -> SubmittedRun:
        """Start a run of a compiled pipeline."""

    def find(self, name: str) -> SubmittedRun:
        """A run that was submitted before, by its name; nothing is asked yet."""


class Platform(Protocol):
    """A module of ``MODULES``."""

    SUFFIXES: tuple[str, ...]

    def check(self, config: Config) -> None:
        """Refuse what cannot run there."""

    def compile_pipeline(self, config: Config) -> str:
        """The compiled file's text."""

    def connect(self, config: Config) -> Connection:
        """Check credentials and host."""


def platform(name: str) -> Platform:
    """The module of a platform.

    Raises:
        UserError: there is none of that name.
    """
    if name not in MODULES:
        guess = nearest(name, dict.fromkeys(MODULES))
        hint = f"; did you mean --runner {guess}?" if guess else ""
        local = "; bert run runs the pipeline here" if name == "local" else ""
        raise UserError(f"--runner: legal are {', '.join(MODULES)}; received {name!r}{hint}{local}")
    module: Any = importlib.import_module(MODULES[name])
    found: Platform = module
    return found


def submit(name: str, config: Config) -> SubmittedRun:
    """Compile the pipeline and start it on a platform.

    Args:
        name: of the platform.
        config: of the pipeline.

    Raises:
        UserError: no such platform, it cannot be reached, or it refuses.
    """
    chosen = platform(name)
    chosen.check(config)
    connection = chosen.connect(config)
    return connection.submit(chosen.compile_pipeline(config))


def watch(
    run: SubmittedRun,
    on_change: Callable[[str, str], None],
    poll_seconds: float = POLL_SECONDS,
) -> RunState:
    """Follow a run to its end.

    Args:
        run: what was submitted.
        on_change: called with a task's name, "" for the run itself, and its new state.
        poll_seconds: between polls.

    Returns:
        The last state.
    """
    known: dict[str, str] = {}
    while True:
        now = run.state()
        for name, state in {**now.tasks, "": now.state}.items():
            if known.get(name) != state:
                known[name] = state
                on_change(name, state)
        if now.finished:
            return now
        time.sleep(poll_seconds)
