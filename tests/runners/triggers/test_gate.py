"""The gate of a DAG, called in this process with the orders of Airflow's tasks."""

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
    """A DAG whose tasks call the gate."""

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
        """Call the gate as the first task does; return its exit code."""
        self.states[dag_run] = "running"
        return gate.main(["open", self.order(dag_run, states=self.states)])

    def record_end(self, dag_run: str, *failed: str) -> int:
        """Call the gate as the last task does; return its exit code."""
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
    """Return a function that makes a DAG which has polled once, and whose data changed since."""
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
    """Return a file that grows with each export; a file "fail" next to it makes exports fail."""
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


def test_poll_without_a_due_run_records_only_a_decision(
    dag: Callable[..., Dag], exports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    polled = dag()
    assert polled.reasons() == ["no trigger fired"]
    assert polled.runs() == []
    assert not exports.exists()
    assert capsys.readouterr().out.startswith("no run starts: no trigger fired")


def test_due_dag_run_becomes_the_triggered_run(dag: Callable[..., Dag], exports: Path) -> None:
    due = dag()
    assert due.is_due("second") == GO_ON
    [run] = due.runs()
    assert (run.runner, run.external_id, run.state) == ("airflow", "second", RUNNING)
    assert run.details["data"], "the next poll compares the data with it"
    assert exports.read_text() == "x"
    assert due.reasons()[-1] == "started by new_data: the data files have changed"
    assert not run_lock.held(due.folder / "root" / "triggers"), "the database holds others back"
    before = time.time()
    assert due.record_end("second") == 0
    [run] = due.runs()
    assert run.state == SUCCEEDED
    assert before <= run.finished <= time.time()
    assert due.is_due("third") == SKIP


def test_failed_export_does_not_stop_the_run(
    dag: Callable[..., Dag], capsys: pytest.CaptureFixture[str]
) -> None:
    due = dag()
    (due.folder / "fail").touch()
    assert due.is_due("second") == GO_ON
    assert "bert feedback export ended with exit code 3" in capsys.readouterr().out


def test_retried_task_makes_no_second_decision(dag: Callable[..., Dag]) -> None:
    due = dag()
    assert due.is_due("second") == GO_ON
    decisions = due.reasons()
    assert due.is_due("second") == GO_ON
    assert due.reasons() == decisions
    assert len(due.runs()) == 1


def test_second_dag_run_is_held_back_while_the_first_is_running(dag: Callable[..., Dag]) -> None:
    due = dag()
    due.is_due("second")
    due.change_data()
    assert due.is_due("third") == SKIP
    assert "run 1 is running" in due.reasons()[-1]


def test_manual_run_holds_back_the_dag_run(dag: Callable[..., Dag]) -> None:
    due = dag()
    with _exclusive(due.folder / "root"):
        assert due.is_due("second") == SKIP
    assert "started by hand is running" in due.reasons()[-1]
    assert due.is_due("third") == GO_ON


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("triggers.cooldown_minutes=60", "the cool-down ends"),
        ("triggers.runs_per_day=1", "1 of 1 runs started within 24 hours"),
    ],
)
def test_brakes_hold_back_the_dag_run(dag: Callable[..., Dag], setting: str, words: str) -> None:
    due = dag(setting)
    due.is_due("second")
    due.record_end("second")
    due.change_data()
    assert due.is_due("third") == SKIP
    assert words in due.reasons()[-1]


def test_next_dag_run_retries_a_failed_one(dag: Callable[..., Dag]) -> None:
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
def test_next_poll_records_an_end_that_is_missing(
    dag: Callable[..., Dag], word: str | None, state: str, then: int
) -> None:
    """The worker died or a time limit passed; Airflow may have deleted the DAG run since."""
    due = dag()
    due.is_due("second")
    if word:
        due.states["second"] = word
    else:
        del due.states["second"]
    assert due.is_due("third") == then
    assert due.runs()[0].state == state


@pytest.mark.parametrize("word", ["queued", "running"])
def test_queued_or_running_dag_run_counts_as_running(dag: Callable[..., Dag], word: str) -> None:
    due = dag()
    due.is_due("second")
    due.states["second"] = word
    due.change_data()
    assert due.is_due("third") == SKIP
    assert due.runs()[0].state == RUNNING


def test_cleared_dag_run_continues_as_the_same_run(dag: Callable[..., Dag]) -> None:
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


def test_cleared_dag_run_is_refused_while_another_run_is_running(
    dag: Callable[..., Dag], capsys: pytest.CaptureFixture[str]
) -> None:
    due = dag()
    due.is_due("second")
    due.record_end("second", "Trainer")
    due.is_due("third")
    assert due.is_due("second") == 2
    assert "run 1 (second) cannot continue while run 2 is running" in capsys.readouterr().err
    assert [run.state for run in due.runs()] == [FAILED, RUNNING]


def test_end_of_a_run_that_no_poll_started_is_not_recorded(dag: Callable[..., Dag]) -> None:
    polled = dag()
    assert polled.record_end("by hand") == 0
    assert polled.runs() == []


def test_watcher_without_access_to_airflow_is_held_back(dag: Callable[..., Dag]) -> None:
    """``bert watch`` on the same database, without a password for Airflow."""
    due = dag()
    due.is_due("second")
    due.change_data()
    watcher = Watcher(ConfigSource(None, tuple(due.assignments)))
    poll = watcher.poll(time.time())
    watcher.close()
    assert "run 1 is running" in poll.decision.reason
    assert any("airflow cannot be queried: airflow.url is empty" in e.sentence for e in poll.events)
    assert due.runs()[0].state == RUNNING


@pytest.mark.parametrize(
    "arguments",
    [[], ["open"], ["shut", "{}"], ["open", "{}"], ["close", '{"dag_run": "r", "states": {}}']],
)
def test_invalid_order_is_refused_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate.main(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "compile the DAG file again" in line


def test_invalid_setting_is_a_user_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"parameters": {}, "states": {}, "dag_run": "r"}
    order = {**values, "assignments": ["triggers.schedule=0 0 31 2 *"]}
    assert gate.main(["open", json.dumps(order)]) == 2
    assert "triggers.schedule" in capsys.readouterr().err


def test_failed_poll_prints_the_error_and_has_exit_code_1(
    dag: Callable[..., Dag], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sqlalchemy.exc import OperationalError

    due = dag()

    def fail(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("the server\nis down"))

    with monkeypatch.context() as patch:
        patch.setattr(TriggerStore, "record", fail)
        assert due.is_due("second") == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("the server is down")
    assert due.runs() == []
