"""Records that triggers decide on: runs, past decisions, signals and events."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any


def clock(moment: float) -> str:
    """Return a time for people: ``2026-03-01 04:05:06 UTC``."""
    return f"{datetime.datetime.fromtimestamp(moment, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


#: ``RunRecord.state``. "lost": it disappeared without a status.
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
        """Whether it counts as running."""
        return self.state == RUNNING

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        names = ("id", "runner", "state", "started", "finished", "external_id", "details")
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True)
class DecisionRecord:
    """A recorded decision; see ``serving.records.tables.DecisionRow``.

    Attributes:
        run: the run that it started, or None.
    """

    id: int
    created: float
    started: bool
    triggers: Sequence[str]
    reason: str
    details: Mapping[str, Any]
    run: RunRecord | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {**vars(self), "run": self.run.to_dict() if self.run else None}


@dataclasses.dataclass(frozen=True)
class History:
    """Recent runs, and the newest recorded decision.

    Attributes:
        runs: the last runs, the newest first; at least as many as may start in a day.
        signals: details of each trigger's signal in the newest recorded decision, by name.
        key: that decision's key; see ``runners.triggers.decide.TriggerDecision.key``.
        busy: sentence that says what else keeps a run from starting now; "" if nothing does.
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
        """Count how many of the last runs failed in a row."""
        count = 0
        for run in self.runs:
            if run.state not in (FAILED, LOST):
                break
            count += 1
        return count

    def carried(self, trigger: str, name: str) -> Any:
        """Return a detail of a trigger's signal in the newest decision, or None."""
        return self.signals.get(trigger, {}).get(name)


#: ``Event.kind``.
ROLLOUT = "rollout"
RUN = "run"
DECISION = "decision"
ERROR = "error"
WATCH = "watch"


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened in a poll.

    Attributes:
        kind: one of the constants above.
        created: seconds since 1970.
        sentence: description for people.
        details: description for programs; JSON types.
    """

    kind: str
    created: float
    sentence: str
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def line(self) -> str:
        """Return one line of plain text: time, kind, sentence."""
        return f"{clock(self.created)} {self.kind:<9}{self.one_line()}"

    def one_line(self) -> str:
        """Return the sentence without line breaks."""
        return " ".join(self.sentence.split())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
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

#: Triggers whose run helps only if there are new examples to learn from.
NEEDS_EXAMPLES = frozenset({ACCURACY, DRIFT})


@dataclasses.dataclass(frozen=True)
class Signal:
    """Result of checking a trigger in one poll.

    Attributes:
        name: the trigger's name.
        fired: whether it asks for a run; False if it could not be checked.
        sentence: what it found, for people.
        details: the figures, and what the next poll needs; JSON types.
        error: why it could not be checked, one line; "" if it could.
    """

    name: str
    fired: bool
    sentence: str
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types, as stored with a decision."""
        error = {"error": self.error} if self.error else {}
        return {**self.details, "fired": self.fired, "sentence": self.sentence, **error}


def failed(name: str, error: str, details: Mapping[str, Any] | None = None) -> Signal:
    """Return the signal of a trigger that could not be checked."""
    return Signal(name, False, f"cannot be checked: {error}", details or {}, error)
