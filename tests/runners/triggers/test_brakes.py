import pytest

from pipeline.sections.freshness import TriggersSection
from runners.triggers import brakes
from runners.triggers.history import FAILED, LOST, RUNNING, SUCCEEDED, History, RunRecord

DAY = 86_400.0
MIDNIGHT = 1_772_323_200.0  # 2026-03-01 00:00 UTC


def at(clock: str) -> float:
    hours, minutes = clock.split(":")
    return MIDNIGHT + int(hours) * 3600 + int(minutes) * 60


def ended(state: str, finished: float, number: int = 1) -> RunRecord:
    return RunRecord(number, "local", finished - 60, finished, state)


@pytest.mark.parametrize(
    ("hours", "clock", "quiet"),
    [
        ("", "00:00", False),
        ("08:00-18:00", "07:59", False),
        ("08:00-18:00", "08:00", True),
        ("08:00-18:00", "17:59", True),
        ("08:00-18:00", "18:00", False),
        ("22:30-06:00", "22:29", False),
        ("22:30-06:00", "22:30", True),
        ("22:30-06:00", "00:00", True),
        ("22:30-06:00", "05:59", True),
        ("22:30-06:00", "06:00", False),
        ("09:00-09:00", "09:00", False),
    ],
)
def test_quiet_hours_may_include_midnight_and_exclude_their_end(
    hours: str, clock: str, quiet: bool
) -> None:
    settings = TriggersSection(quiet_hours=hours)
    assert brakes.quiet_hours(settings, History(), at(clock)).holds is quiet


def test_cooldown_counts_from_the_end_of_the_last_run() -> None:
    history = History((ended(SUCCEEDED, MIDNIGHT),))
    settings = TriggersSection(cooldown_minutes=60)
    assert brakes.cooldown(settings, history, MIDNIGHT + 3599).holds
    assert not brakes.cooldown(settings, history, MIDNIGHT + 3600).holds
    assert not brakes.cooldown(settings, History(), MIDNIGHT).holds


@pytest.mark.parametrize(
    ("states", "hours"),
    [
        ([SUCCEEDED], 1),
        ([FAILED], 1),
        ([FAILED, LOST], 2),
        ([FAILED, LOST, FAILED], 4),
        ([FAILED, LOST, SUCCEEDED, FAILED], 2),
        ([FAILED] * 9, 24),
    ],
)
def test_pause_doubles_with_each_failure_in_a_row(states: list[str], hours: float) -> None:
    runs = tuple(ended(state, MIDNIGHT, number) for number, state in enumerate(states))
    settings = TriggersSection(cooldown_minutes=60)
    assert brakes.pause_seconds(settings, History(runs)) == hours * 3600


def test_cooldown_longer_than_a_day_is_kept() -> None:
    settings = TriggersSection(cooldown_minutes=3 * 1440)
    history = History((ended(FAILED, MIDNIGHT), ended(FAILED, MIDNIGHT)))
    assert brakes.pause_seconds(settings, history) == 3 * DAY


def test_budget_counts_starts_within_any_24_hours() -> None:
    runs = tuple(RunRecord(n, "local", MIDNIGHT - n * 3600, MIDNIGHT) for n in (1, 2, 3))
    settings = TriggersSection(runs_per_day=3)
    assert brakes.budget(settings, History(runs), MIDNIGHT).holds
    assert brakes.budget(settings, History(runs), MIDNIGHT - 3 * 3600 + DAY - 1).holds
    assert not brakes.budget(settings, History(runs), MIDNIGHT - 3 * 3600 + DAY).holds


def test_one_at_a_time_names_the_active_run() -> None:
    running = RunRecord(7, "local", MIDNIGHT, state=RUNNING)
    held = brakes.one_at_a_time(TriggersSection(), History((running,)), MIDNIGHT)
    assert held.holds
    assert held.sentence == "run 7 is running"
    by_hand = brakes.one_at_a_time(TriggersSection(), History(busy="a run by hand"), MIDNIGHT)
    assert by_hand.holds
    assert by_hand.sentence == "a run by hand"


def test_unknown_count_of_examples_holds_unless_none_are_needed() -> None:
    assert brakes.min_new_examples(TriggersSection(min_new_examples=1), None).holds
    assert not brakes.min_new_examples(TriggersSection(min_new_examples=0), None).holds
    assert brakes.min_new_examples(TriggersSection(min_new_examples=5), 4).holds
    assert not brakes.min_new_examples(TriggersSection(min_new_examples=5), 5).holds
