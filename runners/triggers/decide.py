"""The decision whether a run starts. Pure: the same signals, history and time give the same one."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from pipeline.sections.freshness import TriggersSection
from runners.triggers import brakes
from runners.triggers.brakes import Brake
from runners.triggers.history import NEEDS_EXAMPLES, SCHEDULE, History, Signal


@dataclasses.dataclass(frozen=True)
class TriggerDecision:
    """Decision whether a run starts, with its reason.

    Attributes:
        started: whether a run starts.
        triggers: the triggers that fired, also if no run starts.
        reason: one sentence.
        details: what each trigger ("signals") and each brake ("brakes") found.
        key: equal for decisions that mean the same to a person; figures do not enter.
    """

    started: bool
    triggers: tuple[str, ...]
    reason: str
    details: dict[str, Any]
    key: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "started": self.started,
            "triggers": list(self.triggers),
            "reason": self.reason,
            "details": self.details,
        }


def decide(
    signals: Sequence[Signal],
    settings: TriggersSection,
    history: History,
    now: float,
    usable: int | None = None,
) -> TriggerDecision:
    """Weigh triggers against brakes.

    Args:
        signals: signals of all triggers that are switched on.
        settings: gives the brakes' limits.
        history: the recent runs and decisions.
        now: seconds since 1970.
        usable: feedback examples that the next span would hold; None if unknown.

    Returns:
        A start if a trigger fired and no brake holds. ``min_new_examples`` holds back only drift
        and accuracy.
    """
    found = brakes.check_brakes(settings, history, now)
    fired = [signal for signal in signals if signal.fired]
    if any(signal.name in NEEDS_EXAMPLES for signal in fired):
        found = (*found, brakes.min_new_examples(settings, usable))
    holding = _holding(fired, found)
    return TriggerDecision(
        started=bool(fired) and not holding,
        triggers=tuple(signal.name for signal in fired),
        reason=_reason(signals, fired, holding),
        details={
            "signals": {signal.name: signal.to_dict() for signal in signals},
            "brakes": {
                brake.name: {"holds": brake.holds, "sentence": brake.sentence} for brake in found
            },
        },
        key=_key(signals, fired, holding),
    )


def _holding(fired: Sequence[Signal], found: Sequence[Brake]) -> list[Brake]:
    """Return the brakes that keep the fired triggers from starting a run."""
    others = any(signal.name not in NEEDS_EXAMPLES for signal in fired)
    return [
        brake
        for brake in found
        if brake.holds and not (brake.name == brakes.MIN_NEW_EXAMPLES and others)
    ]


def _reason(signals: Sequence[Signal], fired: Sequence[Signal], holding: Sequence[Brake]) -> str:
    why = "; ".join(f"{signal.name}: {signal.sentence}" for signal in fired)
    if fired and holding:
        return f"held back: {'; '.join(brake.sentence for brake in holding)} ({why})"
    if fired:
        return f"started by {why}"
    blind = [f"{signal.name} {signal.sentence}" for signal in signals if signal.error]
    if blind:
        return f"no trigger fired, but {'; '.join(blind)}"
    return "no trigger fired" if signals else "no trigger is switched on"


def _key(signals: Sequence[Signal], fired: Sequence[Signal], holding: Sequence[Brake]) -> str:
    parts = {
        "fired": sorted(signal.name for signal in fired),
        # Brakes matter to a person only if a trigger fired.
        "holding": sorted(brake.name for brake in holding) if fired else [],
        "blind": sorted(signal.name for signal in signals if signal.error),
        "on": sorted(signal.name for signal in signals),
        # The next poll reads from the record since when the schedule counts.
        "schedule": next((s.details.get("since") for s in signals if s.name == SCHEDULE), None),
    }
    return json.dumps(parts, sort_keys=True)
