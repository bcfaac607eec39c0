import dataclasses
import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sections.freshness import TriggersSection
from runners.triggers.decide import decide
from runners.triggers.history import (
    ACCURACY,
    DRIFT,
    FAILED,
    FEEDBACK,
    LOST,
    NEW_DATA,
    SCHEDULE,
    SUCCEEDED,
    History,
    RunRecord,
    Signal,
    failed,
)

NOW = 1_772_366_400.0  # 2026-03-01 12:00 UTC
DAY = 86_400.0
QUIET = Signal(NEW_DATA, False, "the data files are the same")


def fired(name: str) -> Signal:
    return Signal(name, True, f"{name} was seen")


def run(started: float, finished: float | None, state: str = SUCCEEDED) -> RunRecord:
    return RunRecord(1, "local", started, finished, "running" if finished is None else state)


@pytest.mark.parametrize(
    ("signals", "overrides", "history", "usable", "started", "says"),
    [
        ([], {}, History(), 0, False, "no trigger is switched on"),
        ([QUIET], {}, History(), 0, False, "no trigger fired"),
        ([fired(NEW_DATA)], {}, History(), 0, True, "started by new_data: new_data was seen"),
        ([fired(DRIFT)], {}, History(), 49, False, "49 new feedback examples, 50 needed"),
        ([fired(DRIFT)], {}, History(), None, False, "cannot be counted"),
        ([fired(DRIFT)], {}, History(), 50, True, "started by drift"),
        ([fired(ACCURACY)], {"min_new_examples": 0}, History(), 0, True, "started by accuracy"),
        ([fired(DRIFT), fired(SCHEDULE)], {}, History(), 0, True, "schedule was seen"),
        (
            [fired(FEEDBACK)],
            {},
            History((run(NOW - 600, None),)),
            9,
            False,
            "held back: run 1 is running",
        ),
        (
            [fired(FEEDBACK)],
            {},
            History((run(NOW - 600, NOW - 300),)),
            9,
            False,
            "the cool-down ends at 2026-03-01 12:55:00 UTC",
        ),
        (
            [fired(FEEDBACK)],
            {"runs_per_day": 1},
            History((run(NOW - 9000, NOW - 8000),)),
            9,
            False,
            "1 of 1 runs started within 24 hours",
        ),
        (
            [fired(FEEDBACK)],
            {"quiet_hours": "11:00-13:00"},
            History(),
            9,
            False,
            "quiet hours are 11:00-13:00 UTC",
        ),
        (
            [failed(DRIFT, "the server is down"), fired(NEW_DATA)],
            {},
            History(),
            0,
            True,
            "started by new_data",
        ),
        (
            [failed(DRIFT, "the server is down"), QUIET],
            {},
            History(),
            0,
            False,
            "no trigger fired, but drift cannot be checked: the server is down",
        ),
    ],
)
def test_decision_weighs_triggers_against_brakes(
    signals: list[Signal],
    overrides: dict,
    history: History,
    usable: int | None,
    started: bool,
    says: str,
) -> None:
    decision = decide(signals, TriggersSection(**overrides), history, NOW, usable)
    assert decision.started is started
    assert says in decision.reason
    assert decision.triggers == tuple(signal.name for signal in signals if signal.fired)
    assert set(decision.details["signals"]) == {signal.name for signal in signals}


def test_decision_records_every_brake_and_failure() -> None:
    decision = decide(
        [failed(DRIFT, "away"), fired(ACCURACY)], TriggersSection(), History(), NOW, 3
    )
    assert decision.details["signals"][DRIFT]["error"] == "away"
    assert {name: brake["holds"] for name, brake in decision.details["brakes"].items()} == {
        "one_at_a_time": False,
        "quiet_hours": False,
        "cooldown": False,
        "budget": False,
        "min_new_examples": True,
    }


def test_key_depends_on_brakes_but_not_on_figures() -> None:
    def key(history: History, usable: int) -> str:
        return decide([fired(DRIFT)], TriggersSection(), history, NOW, usable).key

    assert key(History(), 3) == key(History(), 4)
    assert key(History(), 3) != key(History(), 60)
    assert key(History((run(NOW - 60, None),)), 3) != key(History(), 3)


def test_key_ignores_brakes_while_no_trigger_fires() -> None:
    idle = decide([QUIET], TriggersSection(), History(), NOW)
    busy = decide([QUIET], TriggersSection(), History((run(NOW - 60, None),)), NOW)
    assert idle.key == busy.key


@st.composite
def _limits(draw: st.DrawFn) -> TriggersSection:
    quiet = st.tuples(st.integers(0, 23), st.integers(0, 59), st.integers(0, 23)).map(
        lambda part: f"{part[0]:02}:{part[1]:02}-{part[2]:02}:{part[1]:02}"
    )
    return TriggersSection(
        cooldown_minutes=draw(st.sampled_from([0.0, 1.0, 45.0, 200.0, 3000.0])),
        runs_per_day=draw(st.integers(1, 5)),
        quiet_hours=draw(st.one_of(st.just(""), quiet)),
        min_new_examples=draw(st.integers(0, 60)),
    )


@st.composite
def _poll(draw: st.DrawFn) -> tuple[float, list[Signal], int | None, str]:
    names = draw(st.sets(st.sampled_from([SCHEDULE, FEEDBACK, ACCURACY, DRIFT, NEW_DATA])))
    pause = draw(st.floats(0.1, 4 * 3600))
    usable = draw(st.one_of(st.none(), st.integers(0, 100)))
    end = draw(st.sampled_from(["", SUCCEEDED, FAILED, LOST]))
    return pause, [fired(name) for name in sorted(names)], usable, end


@settings(max_examples=80, deadline=None)
@given(limits=_limits(), polls=st.lists(_poll(), min_size=1, max_size=40))
def test_no_sequence_of_polls_breaks_a_brake(
    limits: TriggersSection, polls: list[tuple[float, list[Signal], int | None, str]]
) -> None:
    """Every start respects every brake, whatever the order of signals, ends and pauses."""
    runs: list[RunRecord] = []  # the newest first
    now = NOW
    for pause, signals, usable, end in polls:
        now += pause
        if runs and runs[0].running and end:
            runs[0] = dataclasses.replace(runs[0], state=end, finished=now)
        history = History(tuple(runs[: limits.runs_per_day + 10]))
        decision = decide(signals, limits, history, now, usable)
        assert bool(decision.reason)
        if not decision.started:
            continue
        _check_start(limits, runs, now, signals, usable)
        runs.insert(0, RunRecord(len(runs) + 1, "local", now))


def _check_start(
    limits: TriggersSection,
    runs: list[RunRecord],
    now: float,
    signals: list[Signal],
    usable: int | None,
) -> None:
    assert signals, "no trigger fired"
    assert not any(each.running for each in runs), "two at once"
    assert sum(each.started > now - DAY for each in runs) < limits.runs_per_day, "over budget"
    if runs and runs[0].finished is not None:
        assert now - runs[0].finished >= limits.cooldown_minutes * 60 - 1e-3, "in the cool-down"
    if limits.quiet_hours:
        start, end = limits.quiet_hours.split("-")
        moment = f"{datetime.datetime.fromtimestamp(now, datetime.UTC):%H:%M}"
        quiet = start <= moment < end if start <= end else moment >= start or moment < end
        assert not quiet, "in quiet hours"
    if all(signal.name in (DRIFT, ACCURACY) for signal in signals) and limits.min_new_examples:
        assert usable is not None
        assert usable >= limits.min_new_examples
