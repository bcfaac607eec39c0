"""Records that triggers decide on: runs, past decisions, signals and events."""

import dataclasses
from collections.abc import Mapping
from typing import Any

#: ``RunRecord.state``. "lost": it vanished without telling how it ended.
RUNNING, SUCCEEDED, FAILED, LOST = "running", "succeeded", "failed", "lost"


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """A run that was started by a trigger; see ``serving.records.tables.TriggeredRunRow``."""

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
        key: what that decision amounted to; see ``runners.triggers.decide.TriggerDecision.key``.
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


#: ``Event.kind``.
ROLLOUT = "rollout"
RUN = "run"
DECISION = "decision"
ERROR = "error"
WATCH = "watch"


@dataclasses.dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: of the constants above.
        created: when, seconds since 1970.
        sentence: for people.
        details: for programs; JSON types.
    """

    kind: str
    created: float
    sentence: str
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "event": self.kind,
            "created": self.created,
            "sentence": self.sentence,
            "details": dict(self.details),
        }


#: ``Signal.name``: the triggers.
SCHEDULE = "schedule"
FEEDBACK = "feedback"
ACCURACY = "accuracy"
DRIFT = "drift"
NEW_DATA = "new_data"
RETRY = "retry"

#: Triggers that help only when there is something new to learn from.
NEEDS_EXAMPLES = frozenset({ACCURACY, DRIFT})


@dataclasses.dataclass(frozen=True)
class Signal:
    """What a trigger saw in one look.

    Attributes:
        name: of the trigger.
        fired: whether it asks for a run.
        sentence: what it saw, for people.
        details: the figures, and what the next look needs; JSON types.
        error: why it could not look, one line; "" when it could. Such a signal has not fired.
    """

    name: str
    fired: bool
    sentence: str
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As the record of a decision keeps it."""
        error = {"error": self.error} if self.error else {}
        return {**self.details, "fired": self.fired, "sentence": self.sentence, **error}


def failed(name: str, error: str, details: Mapping[str, Any] | None = None) -> Signal:
    """The signal of a trigger that could not look."""
    return Signal(name, False, f"cannot look: {error}", details or {}, error)
