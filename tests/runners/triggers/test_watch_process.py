"""``bert watch`` in processes of its own: killed, restarted, several at once."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runners.triggers.history import RUNNING, SUCCEEDED
from runners.triggers.store import last_decisions, run_states
from serving.records.database import Database
from tests.runners.triggers.processes import alive, begun, end_runs, until, watching

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "data.csv").write_text("text,label\ngood,pos\n")
    yield tmp_path
    end_runs(tmp_path)


@pytest.fixture
def assignments(folder: Path, database_url: str) -> list[str]:
    return [
        f"pipeline.root={folder}/root",
        f"data.path={folder}/data.csv",
        f"feedback.database_url={database_url}",
        "triggers.drift=false",
        "triggers.interval_seconds=0.1",
        "triggers.cooldown_minutes=0",
        "triggers.runs_per_day=1000",
    ]


def new_data(folder: Path) -> None:
    """Change the data; its time says that the change is a minute old."""
    path = folder / "data.csv"
    path.write_text(path.read_text() + "bad,neg\n")
    os.utime(path, (time.time() - 60,) * 2)


def test_next_watcher_finds_the_run_of_a_killed_one(
    folder: Path, assignments: list[str], database: Database
) -> None:
    with watching(folder, assignments) as [first]:
        until(lambda: first.reported("no trigger fired"))
        new_data(folder)
        until(lambda: begun(folder))
        first.kill()
    [(process_id, _)] = begun(folder)
    assert alive(process_id)
    new_data(folder)
    with watching(folder, assignments) as [second]:
        until(lambda: second.reported("run 1 is running"))
        assert run_states(database, [1])[1].state == RUNNING
        assert alive(process_id)
        assert len(begun(folder)) == 1
        (folder / "go").touch()
        until(lambda: second.reported("run 1 succeeded"))
        until(lambda: second.reported("run 2 succeeded"))
        assert second.stop() == 0
    assert [others for _, others in begun(folder)] == [0, 0]
    assert [state.state for state in run_states(database, [1, 2]).values()] == [SUCCEEDED] * 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signal_ends_the_watcher_but_not_its_run(
    folder: Path, assignments: list[str], number: int, code: int
) -> None:
    with watching(folder, assignments) as [watcher]:
        until(lambda: watcher.reported("no trigger fired"))
        new_data(folder)
        until(lambda: begun(folder))
        assert watcher.stop(number) == code
    assert alive(begun(folder)[0][0])


def test_two_watchers_start_one_run(
    folder: Path, assignments: list[str], database: Database
) -> None:
    with watching(folder, assignments, count=2) as watchers:
        for watcher in watchers:
            until(lambda watcher=watcher: watcher.reported("watching"))
        until(lambda: last_decisions(database, 9))
        new_data(folder)
        until(lambda: begun(folder))
        later = time.monotonic() + 1
        until(lambda: time.monotonic() > later)
        assert len(begun(folder)) == 1
        (folder / "go").touch()
        until(lambda: run_states(database, [1])[1].state == SUCCEEDED)
        for watcher in watchers:
            assert watcher.stop() == 0
            assert not [event for event in watcher.events() if event["event"] == "error"]
    assert [row.started for row in last_decisions(database, 99)].count(True) == 1
    assert len(begun(folder)) == 1


def test_watchers_killed_at_any_point_never_start_two_runs_at_once(
    folder: Path, assignments: list[str], database: Database
) -> None:
    """A run that was killed before it began is retried; none is started twice."""
    (folder / "go").touch()
    for round_number in range(6):
        with watching(folder, assignments) as [watcher]:
            until(lambda: watcher.reported("watching"))
            new_data(folder)
            # Anywhere from before the decision to after the run's end.
            time.sleep(0.05 * round_number)
            watcher.kill()
    with watching(folder, assignments) as [watcher]:
        until(lambda: watcher.reported("watching"))
        new_data(folder)
        until(
            lambda: (
                [r.state for r in run_states(database, range(1, 99)).values()][-1:] == [SUCCEEDED]
            )
        )
        assert watcher.stop() == 0
    assert all(others == 0 for _, others in begun(folder))
    starts = [row for row in last_decisions(database, 99) if row.started]
    assert len(begun(folder)) <= len(starts)
