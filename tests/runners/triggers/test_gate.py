"""The gate of a DAG, as Airflow's tasks start it, in this process."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.sections.freshness import TriggersSection
from runners.local.run import _exclusive
from runners.triggers import gate, launch, run_lock
from runners.triggers.config_source import ConfigSource
from runners.triggers.history import FAILED, RUNNING, SUCCEEDED, RunRecord
from runners.triggers.job import Step
from runners.triggers.store import TriggerStore, last_decisions
from runners.triggers.watcher import Watcher
from serving.records.database import Database

GO_ON, SKIP = 0, 99


class Dag:
    """A DAG whose tasks ask the gate."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder
        self.states: dict[str, str] = {}
        self.assignments = [
            f"pipeline.root={folder}/root",
            f"data.path={folder}/data.csv",
            "triggers.drift=false",
            "triggers.cooldown_minutes=0",
            *settings,
        ]
        self.database = Database(load(None, self.assignments, {}).database_url())

    def is_due(self, dag_run: str) -> int:
        """What the first task does."""
        self.states[dag_run] = "running"
        return gate.main(["open", self.order(dag_run, states=self.states)])

    def record_end(self, dag_run: str, *failed: str) -> int:
        """What the last task does."""
        self.states[dag_run] = "failed" if failed else "success"
        return gate.main(["close", self.order(dag_run, failed=failed)])

    def order(self, dag_run: str, **values: object) -> str:
        order = {"dag_run": dag_run, "assignments": self.assignments, "parameters": {}, **values}
        return json.dumps(order)

    def change_data(self) -> None:
        path = self.folder / "data.csv"
        path.write_text(path.read_text() + "bad,neg\n")
        os.utime(path, (time.time() - 60,) * 2)

    def runs(self) -> list[RunRecord]:
        return list(reversed(TriggerStore(self.database, TriggersSection()).history().runs))

    def reasons(self) -> list[str]:
        return [row.reason for row in reversed(last_decisions(self.database, 99))]


@pytest.fixture
def dag(tmp_path: Path) -> Iterator[Callable[..., Dag]]:
    """Makes a DAG that has polled once, at data that changed since."""
    (tmp_path / "data.csv").write_text("text,label\ngood,pos\n")
    made: list[Dag] = []

    def make(*settings: str) -> Dag:
        made.append(Dag(tmp_path, *settings))
        assert made[-1].is_due("first") == SKIP
        made[-1].change_data()
        return made[-1]

    yield make
    for each in made:
        each.database.close()


@pytest.fixture(autouse=True)
def exports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that grows with each export; "fail" beside it makes the export fail."""
    file = tmp_path / "exports"
    script = (
        f"open({str(file)!r}, 'a').write('x'); "
        f"import os, sys; sys.exit(3 * os.path.exists({str(tmp_path / 'fail')!r}))"
    )

    def steps(source: ConfigSource, runner: str, folder: Path) -> list[Step]:
        step = Step("bert feedback export", [sys.executable, "-c", script], required=False)
        return [step, Step("never", ["false"])]

    monkeypatch.setattr(launch, "bert_steps", steps)
    return file


def test_nothing_due_is_a_decision_and_no_run(
    dag: Callable[..., Dag], exports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    polled = dag()
    assert polled.reasons() == ["no trigger fired"]
    assert polled.runs() == []
    assert not exports.exists()
    assert capsys.readouterr().out.startswith("no run starts: no trigger fired")


def test_a_due_dag_run_is_the_triggered_run(dag: Callable[..., Dag], exports: Path) -> None:
    due = dag()
    assert due.is_due("second") == GO_ON
    [run] = due.runs()
    assert (run.runner, run.external_id, run.state) == ("airflow", "second", RUNNING)
    assert run.details["data"], "what the next poll compares the data with"
    assert exports.read_text() == "x"
    assert due.reasons()[-1] == "started by new_data: the data files have changed"
    assert not run_lock.held(due.folder / "root" / "triggers"), "the database holds others back"
    before = time.time()
    assert due.record_end("second") == 0
    [run] = due.runs()
    assert run.state == SUCCEEDED
    assert before <= run.finished <= time.time()
    assert due.is_due("third") == SKIP


def test_an_export_that_fails_stops_no_run(
    dag: Callable[..., Dag], capsys: pytest.CaptureFixture[str]
) -> None:
    due = dag()
    (due.folder / "fail").touch()
    assert due.is_due("second") == GO_ON
    assert "bert feedback export ended with 3" in capsys.readouterr().out


def test_a_task_that_is_tried_again_takes_no_second_decision(dag: Callable[..., Dag]) -> None:
    due = dag()
    assert due.is_due("second") == GO_ON
    decisions = due.reasons()
    assert due.is_due("second") == GO_ON
    assert due.reasons() == decisions
    assert len(due.runs()) == 1


def test_one_run_at_a_time(dag: Callable[..., Dag]) -> None:
    due = dag()
    due.is_due("second")
    due.change_data()
    assert due.is_due("third") == SKIP
    assert "run 1 is under way" in due.reasons()[-1]


def test_a_run_by_hand_holds_back(dag: Callable[..., Dag]) -> None:
    due = dag()
    with _exclusive(due.folder / "root"):
        assert due.is_due("second") == SKIP
    assert "started by hand is under way" in due.reasons()[-1]
    assert due.is_due("third") == GO_ON


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("triggers.cooldown_minutes=60", "the cool-down ends"),
        ("triggers.runs_per_day=1", "1 of 1 runs started within 24 hours"),
    ],
)
def test_the_brakes_hold(dag: Callable[..., Dag], setting: str, words: str) -> None:
    due = dag(setting)
    due.is_due("second")
    due.record_end("second")
    due.change_data()
    assert due.is_due("third") == SKIP
    assert words in due.reasons()[-1]


def test_a_failed_run_is_tried_again(dag: Callable[..., Dag]) -> None:
    due = dag()
    due.is_due("second")
    assert due.record_end("second", "Trainer") == 0
    [run] = due.runs()
    assert (run.state, run.details["sentence"]) == (FAILED, "Trainer failed")
    assert due.is_due("third") == GO_ON
    assert due.reasons()[-1].startswith("started by retry: run 1 failed")


@pytest.mark.parametrize(
    ("word", "state", "then"),
    [("success", SUCCEEDED, SKIP), ("failed", FAILED, GO_ON), (None, FAILED, GO_ON)],
)
def test_an_end_that_nobody_wrote_down_is_seen_by_the_next_poll(
    dag: Callable[..., Dag], word: str | None, state: str, then: int
) -> None:
    """The worker died, or the run's time was up; Airflow knows how it ended, or has forgotten."""
    due = dag()
    due.is_due("second")
    if word:
        due.states["second"] = word
    else:
        del due.states["second"]
    assert due.is_due("third") == then
    assert due.runs()[0].state == state


@pytest.mark.parametrize("word", ["queued", "running"])
def test_a_run_that_waits_or_runs_is_under_way(dag: Callable[..., Dag], word: str) -> None:
    due = dag()
    due.is_due("second")
    due.states["second"] = word
    due.change_data()
    assert due.is_due("third") == SKIP
    assert due.runs()[0].state == RUNNING


def test_a_cleared_dag_run_goes_on_as_the_same_run(dag: Callable[..., Dag]) -> None:
    due = dag("triggers.cooldown_minutes=60")
    due.is_due("second")
    due.record_end("second", "Trainer")
    decisions = due.reasons()
    assert due.is_due("second") == GO_ON
    [run] = due.runs()
    assert (run.state, run.finished) == (RUNNING, None)
    due.record_end("second")
    assert due.runs()[0].state == SUCCEEDED
    assert due.reasons() == decisions


def test_a_cleared_dag_run_waits_for_another_run(
    dag: Callable[..., Dag], capsys: pytest.CaptureFixture[str]
) -> None:
    due = dag()
    due.is_due("second")
    due.record_end("second", "Trainer")
    due.is_due("third")
    assert due.is_due("second") == 2
    assert "run 1 (second) cannot go on, for run 2 is under way" in capsys.readouterr().err
    assert [run.state for run in due.runs()] == [FAILED, RUNNING]


def test_the_end_of_a_run_that_no_poll_started_is_nobodys(dag: Callable[..., Dag]) -> None:
    polled = dag()
    assert polled.record_end("by hand") == 0
    assert polled.runs() == []


def test_a_watcher_elsewhere_is_held_back_and_cannot_ask(dag: Callable[..., Dag]) -> None:
    """``bert watch`` on the same database, without a password for Airflow."""
    due = dag()
    due.is_due("second")
    due.change_data()
    watcher = Watcher(ConfigSource(None, tuple(due.assignments)))
    poll = watcher.poll(time.time())
    watcher.close()
    assert "run 1 is under way" in poll.decision.reason
    assert any("airflow cannot be asked: airflow.url is empty" in e.sentence for e in poll.events)
    assert due.runs()[0].state == RUNNING


@pytest.mark.parametrize(
    "arguments",
    [[], ["open"], ["shut", "{}"], ["open", "{}"], ["close", '{"dag_run": "r", "states": {}}']],
)
def test_another_order_is_refused_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate.main(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "compile the DAG file again" in line


def test_a_bad_setting_is_the_users_to_put_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"parameters": {}, "states": {}, "dag_run": "r"}
    order = {**values, "assignments": ["triggers.schedule=0 0 31 2 *"]}
    assert gate.main(["open", json.dumps(order)]) == 2
    assert "triggers.schedule" in capsys.readouterr().err


def test_a_poll_that_fails_is_exit_code_1_and_says_so(
    dag: Callable[..., Dag], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sqlalchemy.exc import OperationalError

    due = dag()

    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("the server\nis gone"))

    with monkeypatch.context() as patch:
        patch.setattr(TriggerStore, "record", away)
        assert due.is_due("second") == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("the server is gone")
    assert due.runs() == []
