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
    """Result of one poll.

    Attributes:
        decision: the decision; None if another watcher was faster.
        run_id: id of the run that was started, or None.
        events: what happened, in order. A decision like the last recorded one is not an event.
        awaited: what happened while the caller waited for the run.
    """

    decision: TriggerDecision | None
    run_id: int | None
    events: tuple[Event, ...]
    awaited: tuple[Event, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if a run started, 1 if it could not start or failed, else ``NOTHING_DUE``."""
        if self.run_id is None:
            return NOTHING_DUE
        return int(any(_is_bad_end(event, self.run_id) for event in self._all_events()))

    def news(self) -> tuple[Event, ...]:
        """Return the events except the decision, which ``sentences`` gives in full."""
        return tuple(event for event in self.events if event.kind != DECISION)

    def sentences(self) -> list[str]:
        """Return the decision for people: the verdict, then a line for each trigger and brake."""
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
        """Return JSON types."""
        decision = self.decision.to_dict() if self.decision else {}
        events = [event.to_dict() for event in self._all_events()]
        return {**decision, "run": self.run_id, "events": events}

    def _all_events(self) -> tuple[Event, ...]:
        return (*self.events, *self.awaited)


def _is_bad_end(event: Event, run_id: int) -> bool:
    about_run = event.details.get("run") == run_id
    return about_run and (event.kind == ERROR or event.details.get("state") in _BAD)
