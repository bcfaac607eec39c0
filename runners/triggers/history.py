"""What the next decision has to know of the past."""

import dataclasses
from collections.abc import Mapping
from typing import Any

#: ``RunRecord.state``. "lost": it vanished without telling how it ended.
RUNNING, SUCCEEDED, FAILED, LOST = "running", "succeeded", "failed", "lost"


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """A run that was started by a trigger; see ``serving.records.tables.TriggeredRun``."""

    id: int
    runner: str
    started: float
    finished: float | None = None
    state: str = RUNNING
    external_id: str = ""
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether it counts as under way."""
        return self.state == RUNNING


@dataclasses.dataclass(frozen=True)
class History:
    """The recent past.

    Attributes:
        runs: the last ones, the newest first; at least as many as may start in a day.
        signals: details of each trigger's signal in the newest recorded decision, by name.
        key: what that decision amounted to; see ``runners.triggers.decide.Decision.key``.
        busy: why a run cannot start beside what is going on already, a sentence; "" when it can.
    """

    runs: tuple[RunRecord, ...] = ()
    signals: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    key: str = ""
    busy: str = ""

    @property
    def last(self) -> RunRecord | None:
        """The newest run."""
        return self.runs[0] if self.runs else None

    def failures(self) -> int:
        """How many of the last runs have failed in a row."""
        count = 0
        for run in self.runs:
            if run.state not in (FAILED, LOST):
                break
            count += 1
        return count

    def carried(self, trigger: str, name: str) -> Any:
        """What a trigger kept in the newest decision; None without it."""
        return self.signals.get(trigger, {}).get(name)
