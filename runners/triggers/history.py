"""Records that triggers decide on: runs, past decisions, signals and events."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any


def clock(moment: float) -> str:
    """Return a time for people: ``2026-03-01 04:05:06 UTC``."""
    return f"{datetime.datetime.fromtimestamp(moment, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


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

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "id": self.id,
            "runner": self.runner,
            "state": self.state,
            "started": self.started,
            "finished": self.finished,
            "external_id": self.external_id,
            "details": dict(self.details),
        }


@dataclasses.dataclass(frozen=True)
class DecisionRecord:
    """A recorded decision; see ``serving.records.tables.DecisionRow``.

    Attributes:
        run: the run that it started; None without one.
    """

    id: int
    created: float
    started: bool
    triggers: Sequence[str]
    reason: str
    details: Mapping[str, Any]
    run: RunRecord | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "id": self.id,
            "created": self.created,
            "started": self.started,
            "triggers": list(self.triggers),
            "reason": self.reason,
            "details": dict(self.details),
            "run": self.run.to_dict() if self.run else None,
        }


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

    def line(self) -> str:
        """One line of plain text: time, kind, sentence."""
        return f"{clock(self.created)} {self.kind:<9}{self.one_line()}"

    def one_line(self) -> str:
        """The sentence without line breaks."""
        return " ".join(self.sentence.split())

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
    """What a trigger saw in one poll.

    Attributes:
        name: of the trigger.
        fired: whether it asks for a run.
        sentence: what it saw, for people.
        details: the figures, and what the next poll needs; JSON types.
        error: why it could not be checked, one line; "" when it could. Such a signal has not fired.
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
    """Return the signal of a trigger that could not be checked."""
    return Signal(name, False, f"cannot be checked: {error}", details or {}, error)
