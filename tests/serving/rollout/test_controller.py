import shutil
import threading
from pathlib import Path

import pytest

from modules.contract.errors import UserError
from serving.records.database import Database
from serving.rollout import model_config_file, transitions
from serving.rollout.controller import RolloutController
from serving.rollout.server_status import ServedVersion
from serving.rollout.state import CANARY, FULL, LOADING, SHADOW, RolloutStore
from tests.serving.rollout.traffic import Settings, call, mirror, push, vote

UP, BROKEN = ServedVersion(True), ServedVersion(False, "no such op")


class World:
    """A push directory, a database and the status that a server would report."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder / "pushed"
        self.database = database
        self.settings = Settings()
        self.server: dict[int, ServedVersion] | None = {}
        self.asks = True

    def step(self, now: float) -> list[tuple[str, int | None]]:
        status = (lambda: self.server) if self.asks else None
        controller = RolloutController(self.database, self.folder, "default", self.settings, status)
        return [(event.action, event.version) for event in controller.step(now)]

    @property
    def state(self):
        return RolloutStore(self.database).read("default")

    @property
    def file(self) -> str:
        return model_config_file.path(self.folder).read_text("utf-8")

    def answer(self, version: int, role: str, now: float, count: int, **options) -> None:
        for _ in range(count):
            call(self.database, version, role, now, **options)

    def shadow(self, now: float, count: int, **options) -> None:
        for _ in range(count):
            ids = call(self.database, 1, "stable", now)
            mirror(self.database, ids, 2, now, **options)


@pytest.fixture
def world(tmp_path, database) -> World:
    return World(tmp_path, database)


@pytest.fixture
def on_trial(world) -> World:
    """Version 1 serves, version 2 is in shadow since time 200."""
    push(world.folder, 1)
    world.step(100.0)
    push(world.folder, 2)
    world.server = {1: UP, 2: UP}
    assert world.step(200.0) == [("start", 2), ("advance", 2)]
    assert world.state.stage == SHADOW
    return world


def test_step_without_a_pushed_version_does_nothing(world) -> None:
    assert world.step(1.0) == []
    assert world.state is None


def test_newest_version_is_adopted(world) -> None:
    push(world.folder, 1, 3, 2)
    assert world.step(1.0) == [("adopt", 3)]
    assert world.state.served == (3,)
    assert world.step(2.0) == []


def test_candidate_advances_from_push_to_full_traffic(on_trial) -> None:
    on_trial.shadow(210.0, 19)
    assert on_trial.step(220.0) == []
    on_trial.shadow(210.0, 1)
    assert on_trial.step(230.0) == [("advance", 2)]
    assert on_trial.state.stage == CANARY
    assert 'key: "canary" value: 2' in on_trial.file
    on_trial.answer(1, "stable", 231.0, 50)
    on_trial.answer(2, "canary", 231.0, 20)
    assert on_trial.step(240.0) == [("promote", 2)]
    state = on_trial.state
    assert (state.stable, state.previous, state.candidate, state.stage) == (2, 1, None, FULL)
    assert "versions: 1\n" in on_trial.file  # stays loaded
    newest = RolloutStore(on_trial.database).events("default")[0]
    assert newest.details["candidate"]["requests"] == 20
    assert on_trial.step(250.0) == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"status": "INTERNAL"}, "in shadow: 20 of 20 requests failed"),
        ({"latency_ms": 90.0}, "in shadow: median latency 90.0 ms is 9.00 times"),
        ({"labels": ("neg",)}, "in shadow: 20 of 20 answers differ"),
    ],
)
def test_bad_candidate_is_rolled_back_and_not_restarted(on_trial, options, reason) -> None:
    on_trial.shadow(210.0, 20, **options)
    assert on_trial.step(220.0) == [("rollback", 2)]
    assert on_trial.state.rejected == (2,)
    assert on_trial.state.stable == 1
    assert RolloutStore(on_trial.database).events("default")[0].reason.startswith(reason)
    assert "versions: 2\n" not in on_trial.file
    assert on_trial.step(230.0) == []


def test_feedback_on_wrong_predictions_rolls_back(on_trial) -> None:
    on_trial.settings = Settings(max_disagreement=1.0, min_requests=1000)
    for number in range(30):
        text = f"text {number}"
        ids = call(on_trial.database, 1, "stable", 210.0, labels=("pos",), texts=[text])
        mirror(on_trial.database, ids, 2, 210.0, labels=("neg",))
        vote(on_trial.database, text, "pos")
    assert on_trial.step(220.0) == [("rollback", 2)]


def test_undecided_stage_is_rolled_back(on_trial) -> None:
    assert on_trial.step(200.0 + 24 * 3600) == []
    assert on_trial.step(201.0 + 24 * 3600) == [("rollback", 2)]


def test_newer_version_supersedes_the_candidate(on_trial) -> None:
    push(on_trial.folder, 4)
    assert on_trial.step(210.0) == [("start", 4)]
    assert on_trial.state.rejected == ()
    assert on_trial.state.candidate == 4
    assert on_trial.state.stage == LOADING
    event = RolloutStore(on_trial.database).events("default")[0]
    assert event.reason.endswith("it supersedes the candidate 2")


def test_candidate_gets_no_traffic_before_it_is_loaded(on_trial) -> None:
    push(on_trial.folder, 3)
    on_trial.step(210.0)
    assert "versions: 3\n" in on_trial.file
    on_trial.server = None  # unavailable for days
    assert on_trial.step(210.0 + 99 * 3600) == []
    on_trial.server = {1: UP, 3: ServedVersion(False)}
    assert on_trial.step(220.0 + 99 * 3600) == []
    assert on_trial.state.stage == LOADING
    on_trial.server = {1: UP, 3: UP}
    assert on_trial.step(230.0 + 99 * 3600) == [("advance", 3)]


def test_version_that_cannot_be_loaded_is_rolled_back(on_trial) -> None:
    push(on_trial.folder, 3)
    on_trial.server = {1: UP, 2: UP, 3: BROKEN}
    # The older candidate, superseded and not rejected, is the newest again.
    assert on_trial.step(210.0)[:2] == [("start", 3), ("rollback", 3)]
    assert on_trial.state.rejected == (3,)
    assert on_trial.state.stable == 1


def test_candidate_without_its_folder_is_rolled_back(on_trial) -> None:
    shutil.rmtree(on_trial.folder / "2")
    assert on_trial.step(210.0) == [("rollback", 2)]


def test_without_stages_a_loaded_candidate_is_promoted(world) -> None:
    world.settings = Settings(stages=())
    push(world.folder, 1)
    world.step(1.0)
    push(world.folder, 2)
    assert world.step(2.0) == [("start", 2)]
    world.server = {1: UP, 2: UP}
    assert world.step(3.0) == [("promote", 2)]


def test_candidate_is_assumed_to_load_without_a_server_status(world) -> None:
    world.settings, world.asks = Settings(stages=()), False
    push(world.folder, 1)
    world.step(1.0)
    push(world.folder, 2)
    assert world.step(2.0) == [("start", 2), ("promote", 2)]


def test_stable_version_that_no_longer_loads_is_rolled_back(on_trial) -> None:
    store = RolloutStore(on_trial.database)
    store.change(transitions.promote(on_trial.state, 2, 1.0, "by hand"), now=1.0, by="me")
    on_trial.server = {1: ServedVersion(False), 2: BROKEN}
    assert on_trial.step(220.0) == []  # the previous version cannot answer either
    on_trial.server = {1: UP, 2: BROKEN}
    assert on_trial.step(230.0) == [("rollback", 2)]
    assert on_trial.state.stable == 1


def test_first_version_that_cannot_be_loaded_is_replaced(world) -> None:
    push(world.folder, 1, 2)
    world.step(1.0)
    world.server = {2: BROKEN}
    assert world.step(2.0) == [("adopt", 1)]
    assert world.state.rejected == (2,)


def test_file_is_restored_after_a_crash_between_commit_and_write(on_trial) -> None:
    wanted = on_trial.file
    model_config_file.path(on_trial.folder).unlink()
    assert on_trial.step(210.0) == []
    assert on_trial.file == wanted


def test_one_of_several_concurrent_controllers_wins(world) -> None:
    push(world.folder, 1)
    world.step(1.0)
    push(world.folder, 2)
    world.asks = False
    barrier, seen = threading.Barrier(4), []

    def work() -> None:
        barrier.wait()
        seen.extend(world.step(2.0))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [("advance", 2), ("start", 2)]
    assert len(RolloutStore(world.database).events("default")) == 3
    assert model_config_file.text(world.state, world.folder) == world.file


def test_remote_push_directory_is_refused(database) -> None:
    with pytest.raises(UserError, match="on a file system"):
        RolloutController(database, "gs://bucket/pushed", "default", Settings())
