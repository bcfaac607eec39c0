"""The contract of the platforms for which a pipeline can be compiled and to which it is submitted.

A platform is a module of ``runners`` with

- ``SUFFIXES``: allowed suffixes of the compiled file, the default first;
- ``check(config)``: raises ``UserError`` for a config that cannot run there; no slow imports;
- ``compile_pipeline(config) -> str``: the text of the compiled file, deterministic;
- ``connect(config) -> Connection``: called before the pipeline is compiled, so that missing
  credentials and unreachable hosts are reported immediately.
"""

import dataclasses
import importlib
import time
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from modules.contract.errors import UserError
from pipeline.config import Config
from pipeline.config_keys import nearest

#: Value of ``--runner`` -> module.
MODULES = {
    "airflow": "runners.airflow.platform",
    "kubeflow": "runners.kubeflow.platform",
    "vertex": "runners.vertex.platform",
}

#: Seconds between polls of a run.
POLL_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class RunState:
    """The state of a run.

    Attributes:
        state: the platform's name of the state, such as "RUNNING".
        finished: whether the state is final.
        succeeded: whether the run succeeded.
        tasks: name of each task that has started -> the platform's name of its state.
        error: the error in one line, or "".
    """

    state: str
    finished: bool
    succeeded: bool
    tasks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    error: str = ""


@dataclasses.dataclass(frozen=True)
class SubmittedRun:
    """A run that the platform has accepted.

    Attributes:
        name: the platform's id of the run.
        url: page of the run.
        state: returns the current state; raises ``UserError`` if the platform refuses the request
            or cannot be reached.
    """

    name: str
    url: str
    state: Callable[[], RunState]


class Connection(Protocol):
    """A checked connection to a platform."""

    def submit(self, package: str) -> SubmittedRun:
        """Start a run of a compiled pipeline.

        Raises:
            UserError: the platform refuses the run or cannot be reached.
        """

    def find(self, name: str) -> SubmittedRun:
        """Return a submitted run by its name, without a request."""


class Platform(Protocol):
    """A module of ``MODULES``."""

    SUFFIXES: tuple[str, ...]

    def check(self, config: Config) -> None:
        """Refuse a config that cannot run on the platform.

        Raises:
            UserError: a setting is wrong; names the key, the allowed values and the fix.
        """

    def compile_pipeline(self, config: Config) -> str:
        """Return the text of the compiled file."""

    def connect(self, config: Config) -> Connection:
        """Return a connection whose host and credentials have been checked.

        Raises:
            UserError: the host is missing or unreachable, or the credentials are wrong.
        """


def platform(name: str) -> Platform:
    """Return the module of a platform.

    Raises:
        UserError: the platform does not exist.
    """
    if name not in MODULES:
        guess = nearest(name, dict.fromkeys(MODULES))
        hint = f"; did you mean --runner {guess}?" if guess else ""
        local = "; use bert run to run the pipeline here" if name == "local" else ""
        allowed = ", ".join(MODULES)
        raise UserError(f"--runner: must be one of {allowed}; received {name!r}{hint}{local}")
    return cast(Platform, importlib.import_module(MODULES[name]))


def submit(name: str, config: Config) -> SubmittedRun:
    """Compile the pipeline and start it on a platform.

    Args:
        name: the name of the platform.
        config: the resolved configuration.

    Raises:
        UserError: the platform does not exist, cannot be reached or refuses the run.
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
    """Follow a run until it finishes.

    Args:
        run: the submitted run.
        on_change: called with a task's name, or "" for the run itself, and its new state.
        poll_seconds: seconds between polls.

    Returns:
        The final state.

    Raises:
        UserError: the platform refuses a request or cannot be reached.
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
