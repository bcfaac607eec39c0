"""Brakes: keep a run from starting although a trigger fired. Pure; times are UTC seconds."""

import dataclasses
import datetime

from pipeline.sections.freshness import TriggersSection
from runners.triggers.history import History, clock

ONE_AT_A_TIME = "one_at_a_time"
QUIET_HOURS = "quiet_hours"
COOLDOWN = "cooldown"
BUDGET = "budget"
MIN_NEW_EXAMPLES = "min_new_examples"

DAY_SECONDS = 86_400.0
#: The pause after failed runs doubles with each failure, up to this.
MAX_PAUSE_SECONDS = DAY_SECONDS


@dataclasses.dataclass(frozen=True)
class Brake:
    """A possible reason not to start a run, checked.

    Attributes:
        name: the brake's name.
        holds: whether it keeps a run from starting.
        sentence: the reason, for people.
    """

    name: str
    holds: bool
    sentence: str


def check_brakes(settings: TriggersSection, history: History, now: float) -> tuple[Brake, ...]:
    """Check the brakes that do not depend on which triggers fired."""
    brakes = (one_at_a_time, quiet_hours, cooldown, budget)
    return tuple(brake(settings, history, now) for brake in brakes)


def one_at_a_time(settings: TriggersSection, history: History, now: float) -> Brake:
    """Hold while a run is running."""
    running = next((run for run in history.runs if run.running), None)
    if running:
        return Brake(ONE_AT_A_TIME, True, f"run {running.id} is running")
    return Brake(ONE_AT_A_TIME, bool(history.busy), history.busy or "no run is running")


def quiet_hours(settings: TriggersSection, history: History, now: float) -> Brake:
    """Hold between two times of day, the end excluded.

    The hours may include midnight. If both times are equal, there are no quiet hours.
    """
    if not settings.quiet_hours:
        return Brake(QUIET_HOURS, False, "no quiet hours are set")
    start, end = (_minute(word) for word in settings.quiet_hours.split("-"))
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    minute = moment.hour * 60 + moment.minute
    quiet = start <= minute < end if start <= end else minute >= start or minute < end
    return Brake(QUIET_HOURS, quiet, f"quiet hours are {settings.quiet_hours} UTC")


def _minute(word: str) -> int:
    hours, minutes = word.split(":")
    return int(hours) * 60 + int(minutes)


def pause_seconds(settings: TriggersSection, history: History) -> float:
    """Return the pause after the last run; it doubles with each failure in a row."""
    doublings = min(max(0, history.failures() - 1), 20)
    pause = settings.cooldown_minutes * 60
    return max(pause, min(pause * 2.0**doublings, MAX_PAUSE_SECONDS))


def cooldown(settings: TriggersSection, history: History, now: float) -> Brake:
    """Hold for a while after the last run has ended."""
    last = history.last
    if last is None:
        return Brake(COOLDOWN, False, "no triggered run yet")
    if last.finished is None:
        return Brake(COOLDOWN, False, "the last run has not ended")
    until = last.finished + pause_seconds(settings, history)
    holds = now < until
    return Brake(COOLDOWN, holds, f"the cool-down {'ends' if holds else 'ended'} at {clock(until)}")


def budget(settings: TriggersSection, history: History, now: float) -> Brake:
    """Hold once enough runs were started within 24 hours."""
    spent = sum(run.started > now - DAY_SECONDS for run in history.runs)
    sentence = f"{spent} of {settings.runs_per_day} runs started within 24 hours"
    return Brake(BUDGET, spent >= settings.runs_per_day, sentence)


def min_new_examples(settings: TriggersSection, usable: int | None) -> Brake:
    """Hold while there are too few new feedback examples.

    Args:
        settings: gives ``min_new_examples``.
        usable: feedback examples that the next span would hold; None if unknown.
    """
    wanted = settings.min_new_examples
    if usable is None:
        return Brake(MIN_NEW_EXAMPLES, wanted > 0, "the new feedback cannot be counted")
    return Brake(
        MIN_NEW_EXAMPLES, usable < wanted, f"{usable} new feedback examples, {wanted} needed"
    )
