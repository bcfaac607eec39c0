import threading

import pytest

from modules.contract.errors import UserError
from pipeline.sections.freshness import TriggersSection
from runners.triggers.decide import TriggerDecision, decide
from runners.triggers.history import DRIFT, FAILED, NEW_DATA, RUNNING, SUCCEEDED, History, Signal
from runners.triggers.store import (
    NewRun,
    TriggerStore,
    last_decisions,
    read_decisions,
    run_states,
)
from serving.records.database import Database

NOW = 1_772_366_400.0
LIMITS = TriggersSection(cooldown_minutes=0, runs_per_day=3, min_new_examples=5)
FIRED = Signal(NEW_DATA, True, "new", {"digest": "d", "baseline": "b"})
IDLE = Signal(NEW_DATA, False, "same", {"digest": "b", "baseline": "b"})


def decider(*signals: Signal, now: float = NOW, usable: int = 0):
    def decide_on(history: History) -> TriggerDecision:
        return decide(signals, LIMITS, history, now, usable)

    return decide_on


@pytest.fixture
def store(database: Database) -> TriggerStore:
    return TriggerStore(database, LIMITS)


def test_start_stores_one_decision_and_one_run(store: TriggerStore, database: Database) -> None:
    recorded = store.record(
        decider(FIRED), store.history(), NOW, NewRun("local", details={"data": "d"})
    )
    assert recorded is not None
    assert recorded.new
    assert recorded.run_id is not None
    [row] = last_decisions(database, 10)
    assert row.started
    assert row.triggers == [NEW_DATA]
    assert row.reason == "started by new_data: new"
    assert row.run_id == recorded.run_id
    assert row.created == NOW
    run = run_states(database, [recorded.run_id])[recorded.run_id]
    assert run.state == RUNNING
    assert run.started == NOW
    assert run.details == {"data": "d", "triggers": [NEW_DATA]}


def test_repeated_decision_is_not_stored_again(store: TriggerStore, database: Database) -> None:
    held = Signal(DRIFT, True, "raised")
    polls = [(IDLE,), (IDLE,), (held,), (held,), (IDLE,)]
    new = [
        store.record(
            decider(*signals, now=NOW + n, usable=n), store.history(), NOW + n, NewRun("local")
        ).new
        for n, signals in enumerate(polls)
    ]
    assert new == [True, False, True, False, True]
    assert [row.triggers for row in last_decisions(database, 10)] == [[], [DRIFT], []]


def test_decisions_are_read_with_the_runs_they_started(
    store: TriggerStore, database: Database
) -> None:
    store.record(decider(IDLE), store.history(), NOW, NewRun("local"))
    recorded = store.record(decider(FIRED), store.history(), NOW + 1, NewRun("local"))
    newest, before = read_decisions(database, 10)
    assert (newest.started, before.started) == (True, False)
    assert newest.run is not None
    assert (newest.run.id, newest.run.state) == (recorded.run_id, RUNNING)
    assert before.run is None
    assert before.to_dict()["run"] is None
    assert list(newest.to_dict()["run"]) == [
        "id", "runner", "state", "started", "finished", "external_id", "details"
    ]  # fmt: skip
    assert len(read_decisions(database, 1)) == 1


def test_history_carries_the_details_of_triggers(store: TriggerStore) -> None:
    store.record(decider(IDLE), store.history(), NOW, NewRun("local"))
    assert store.history().carried(NEW_DATA, "baseline") == "b"
    assert store.history().carried(NEW_DATA, "nothing") is None
    assert store.history().last is None


def test_end_of_a_run_is_recorded_once(store: TriggerStore) -> None:
    recorded = store.record(
        decider(FIRED), store.history(), NOW, NewRun("local", details={"data": "d"})
    )
    assert store.update_run(recorded.run_id, external_id="x", details={"url": "u"})
    assert store.update_run(recorded.run_id, state=SUCCEEDED, finished=NOW + 5)
    assert not store.update_run(recorded.run_id, state=FAILED, finished=NOW + 9)
    last = store.history().last
    assert (last.state, last.finished, last.external_id) == (SUCCEEDED, NOW + 5, "x")
    assert last.details == {"data": "d", "url": "u", "triggers": [NEW_DATA]}


def test_run_is_found_by_the_id_of_its_platform_and_resumed(store: TriggerStore) -> None:
    dag_run = NewRun("airflow", external_id="dag run")
    first = store.record(decider(FIRED), store.history(), NOW, dag_run)
    assert store.find_run("airflow", "dag run").id == first.run_id
    assert store.find_run("kubeflow", "dag run") is None
    assert store.find_run("airflow", "another") is None
    assert store.resume_run("airflow", "another") is None
    store.update_run(first.run_id, state=FAILED, finished=NOW + 1)
    resumed = store.resume_run("airflow", "dag run")
    assert (resumed.id, resumed.state, resumed.finished) == (first.run_id, RUNNING, None)
    assert store.history().last == resumed


def test_ended_run_is_not_resumed_while_another_is_running(store: TriggerStore) -> None:
    first = store.record(decider(FIRED), store.history(), NOW, NewRun("airflow", "dag run"))
    store.update_run(first.run_id, state=FAILED, finished=NOW + 1)
    second = store.record(decider(FIRED, now=NOW + 2), store.history(), NOW + 2, NewRun("local"))
    with pytest.raises(UserError, match=f"while run {second.run_id} is running"):
        store.resume_run("airflow", "dag run")
    assert store.find_run("airflow", "dag run").state == FAILED


def test_signals_older_than_the_run_of_another_watcher_decide_nothing(
    store: TriggerStore, database: Database
) -> None:
    seen = store.history()
    first = store.record(decider(FIRED), seen, NOW, NewRun("local"))
    store.update_run(first.run_id, state=SUCCEEDED, finished=NOW)
    assert store.record(decider(FIRED), seen, NOW, NewRun("local")) is None
    assert len(last_decisions(database, 10)) == 1


def test_concurrent_watchers_start_one_run(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(4)]
    barrier, started = threading.Barrier(4), []

    def watch(database: Database) -> None:
        store = TriggerStore(database, LIMITS)
        for _ in range(3):
            barrier.wait(60)
            recorded = store.record(decider(FIRED), store.history(), NOW, NewRun("local"))
            if recorded and recorded.run_id is not None:
                started.append(recorded.run_id)

    threads = [threading.Thread(target=watch, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for database in databases:
        database.close()
    assert len(started) == 1
