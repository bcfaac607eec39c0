import dataclasses
import threading

import pytest

from serving.rollout.state import CANARY, FULL, Change, ConflictError, RolloutState, RolloutStore

FIRST = RolloutState("default", 1, stable=3, stage=FULL, stage_started=10.0)


@pytest.fixture
def database(either_database):
    return either_database


@pytest.fixture
def store(database) -> RolloutStore:
    return RolloutStore(database)


def test_store_is_empty_before_the_first_change(store) -> None:
    assert store.read("default") is None
    assert store.events("default") == []


def test_written_state_and_events_are_read_back(store) -> None:
    store.change(Change(FIRST, "adopt", 3, "first"), now=10.0, by="watch")
    second = dataclasses.replace(
        FIRST, revision=2, previous=1, candidate=5, stage=CANARY, rejected=(2, 4)
    )
    store.change(Change(second, "start", 5, "pushed", {"n": 1}), now=11.0, by="me")
    assert store.read("default") == second
    assert store.read("other") is None
    newest, oldest = store.events("default")
    assert (newest.action, newest.version, newest.by, newest.created) == ("start", 5, "me", 11.0)
    assert newest.details == {"n": 1}
    assert oldest.action == "adopt"


def test_reasons_of_rejections_are_stored(store) -> None:
    rejected = dataclasses.replace(FIRST, rejected=(7,))
    store.change(Change(rejected, "rollback", 7, "too slow"), now=1.0, by="watch")
    again = dataclasses.replace(rejected, revision=2, rejected=(7, 8))
    store.change(Change(again, "rollback", 8, "wrong"), now=2.0, by="watch")
    assert store.rejections("default") == {7: "too slow", 8: "wrong"}


def test_change_of_an_outdated_state_writes_nothing(store) -> None:
    store.change(Change(FIRST, "adopt", 3, "first"), now=1.0, by="a")
    second = dataclasses.replace(FIRST, revision=2, candidate=4, stage=CANARY)
    store.change(Change(second, "start", 4, "pushed"), now=2.0, by="a")
    for stale in (FIRST, dataclasses.replace(second, candidate=9)):
        with pytest.raises(ConflictError):
            store.change(Change(stale, "start", 9, "stale"), now=3.0, by="b")
    assert store.read("default") == second
    assert len(store.events("default")) == 2


def test_one_of_many_concurrent_changes_wins(database) -> None:
    wins, barrier = [], threading.Barrier(8)

    def work(version: int) -> None:
        store = RolloutStore(database)
        state = dataclasses.replace(FIRST, stable=version)
        barrier.wait()
        try:
            store.change(Change(state, "adopt", version, "first"), now=1.0, by=str(version))
        except ConflictError:
            return
        wins.append(version)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    store = RolloutStore(database)
    assert store.read("default").stable == wins[0]
    assert [event.version for event in store.events("default")] == wins


def test_served_versions_are_ascending() -> None:
    assert FIRST.served == (3,)
    assert dataclasses.replace(FIRST, candidate=9, previous=1).served == (1, 3, 9)
