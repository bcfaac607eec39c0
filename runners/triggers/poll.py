"""The result of one poll: what happened, the decision, its exit code and its sentences."""

import dataclasses
from typing import Any

from runners.triggers.decide import TriggerDecision
from runners.triggers.history import DECISION, ERROR, FAILED, LOST, Event

#: Exit code of a poll that started nothing. Airflow's BashOperator skips the task on it.
NOTHING_DUE = 99

_BAD = frozenset({FAILED, LOST})


@dataclasses.dataclass(frozen=True)
class Poll:
    """One poll of a watcher.

    Attributes:
        decision: None when another watcher was faster.
        run_id: the run that was started; None without one.
        events: what happened, in order. A decision that says the same as the last is not an event.
        awaited: what happened while the caller waited for the run.
    """

    decision: TriggerDecision | None
    run_id: int | None
    events: tuple[Event, ...]
    awaited: tuple[Event, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 when a run started, 1 when it could not start or has failed, else ``NOTHING_DUE``."""
        if self.run_id is None:
            return NOTHING_DUE
        return int(any(_is_bad_end(event, self.run_id) for event in self._all_events()))

    def news(self) -> tuple[Event, ...]:
        """The events except the decision, which ``sentences`` gives in full."""
        return tuple(event for event in self.events if event.kind != DECISION)

    def sentences(self) -> list[str]:
        """The decision for people: the verdict, then one line for each trigger and brake."""
        if self.decision is None:
            return ["no decision: another watcher has just started a run"]
        verdict = "a run starts" if self.decision.started else "no run starts"
        details = self.decision.details
        return [
            f"{verdict}: {self.decision.reason}",
            *(f"  {name}: {signal['sentence']}" for name, signal in details["signals"].items()),
            *(
                f"  {name} {'holds' if brake['holds'] else 'free'}: {brake['sentence']}"
                for name, brake in details["brakes"].items()
            ),
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        decision = self.decision.to_dict() if self.decision else {}
        events = [event.to_dict() for event in self._all_events()]
        return {**decision, "run": self.run_id, "events": events}

    def _all_events(self) -> tuple[Event, ...]:
        return (*self.events, *self.awaited)


def _is_bad_end(event: Event, run_id: int) -> bool:
    about_run = event.details.get("run") == run_id
    return about_run and (event.kind == ERROR or event.details.get("state") in _BAD)
