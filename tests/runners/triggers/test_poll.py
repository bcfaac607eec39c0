"""The exit code of a poll and its sentences."""

import pytest

from runners.triggers.history import DECISION, Event
from runners.triggers.poll import NOTHING_DUE, Poll


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (None, 0),
        (Event("run", 1.0, "it is running", {"run": 7, "state": "running"}), 0),
        (Event("run", 1.0, "done", {"run": 7, "state": "succeeded"}), 0),
        (Event("run", 1.0, "an older one", {"run": 6, "state": "failed"}), 0),
        (Event("error", 1.0, "drift: no server"), 0),
        (Event("run", 1.0, "exit code 1", {"run": 7, "state": "failed"}), 1),
        (Event("run", 1.0, "gone", {"run": 7, "state": "lost"}), 1),
        (Event("error", 1.0, "run 7 cannot be started", {"run": 7}), 1),
    ],
)
def test_failure_or_failed_start_of_the_run_is_exit_code_1(event: Event | None, code: int) -> None:
    assert Poll(None, 7, (event,) if event else ()).exit_code == code
    assert Poll(None, 7, (), awaited=(event,) if event else ()).exit_code == code


def test_poll_that_starts_no_run_has_its_own_exit_code() -> None:
    assert Poll(None, None, (Event("error", 1.0, "drift: no server"),)).exit_code == NOTHING_DUE


def test_news_excludes_the_decision() -> None:
    run, decision = Event("run", 1.0, "run 7 started"), Event(DECISION, 1.0, "no trigger fired")
    assert Poll(None, 7, (decision, run)).news() == (run,)


def test_poll_that_another_watcher_overtook_says_so() -> None:
    assert Poll(None, None, ()).sentences() == [
        "no decision: another watcher has just started a run"
    ]


def test_event_is_one_line_of_plain_text() -> None:
    event = Event("run", 0.0, "run 7 failed:\n exit code 1")
    assert event.line() == "1970-01-01 00:00:00 UTC run      run 7 failed: exit code 1"
