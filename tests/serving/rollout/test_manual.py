import re
import subprocess
import sys

import pytest

from modules.contract.errors import UserError
from serving.rollout import model_config_file
from serving.rollout.manual import ManualRollout
from serving.rollout.server_status import ServedVersion
from serving.rollout.state import FULL, LOADING, ConflictError, RolloutStore
from tests.serving.rollout.traffic import push

UP, BROKEN = ServedVersion(True), ServedVersion(False, "no such op")


@pytest.fixture
def folder(tmp_path):
    push(tmp_path / "pushed", 1)
    return tmp_path / "pushed"


@pytest.fixture
def rollout(database, folder) -> ManualRollout:
    rollout = ManualRollout(database, folder, "default", "me")
    rollout.adopt()
    push(folder, 2, 3)
    return rollout


@pytest.fixture
def store(database) -> RolloutStore:
    return RolloutStore(database)


def state(store):
    return store.read("default")


def test_adopting_twice_changes_nothing(rollout, store, folder) -> None:
    before = state(store)
    model_config_file.path(folder).unlink()
    assert rollout.adopt() == before
    assert model_config_file.path(folder).is_file()


def test_adopting_without_a_pushed_version_is_an_error(database, tmp_path) -> None:
    with pytest.raises(UserError, match="`bert run` trains and pushes one"):
        ManualRollout(database, tmp_path / "none", "default", "me").adopt()


def test_rollback_after_a_promotion_restores_the_previous_version(rollout, store, folder) -> None:
    rollout.promote(2, "looks good")
    assert (state(store).stable, state(store).previous) == (2, 1)
    event = rollout.roll_back("it does not")
    assert (event.action, event.version, event.by) == ("rollback", 2, "me")
    assert (state(store).stable, state(store).rejected) == (1, (2,))
    assert model_config_file.path(folder).read_text() == model_config_file.text(
        state(store), folder
    )
    with pytest.raises(UserError, match="there is no previous version to roll back to"):
        rollout.roll_back("again")


def test_rolling_back_a_candidate_leaves_the_stable_version(rollout, store) -> None:
    rollout.load(3, lambda: {3: UP}, 1)
    assert (state(store).candidate, state(store).stage) == (3, LOADING)
    assert rollout.roll_back("no").version == 3
    assert (state(store).stable, state(store).stage) == (1, FULL)


def test_rejected_version_may_be_promoted_again(rollout, store) -> None:
    rollout.promote(2, "a")
    rollout.roll_back("b")
    assert rollout.choose(2) == 2
    rollout.load(2, lambda: {2: UP}, 1)
    rollout.promote(2, "c")
    assert (state(store).stable, state(store).rejected) == (2, ())


def test_promoting_an_older_version_rejects_the_newer_ones(rollout, store) -> None:
    rollout.promote(2, "a")
    rollout.promote(1, "b")
    assert (state(store).stable, state(store).previous) == (1, None)
    assert state(store).rejected == (2, 3)


def test_version_that_cannot_be_loaded_is_not_promoted(rollout, store) -> None:
    answers = iter([{1: UP}, {1: UP, 2: BROKEN}])
    with pytest.raises(UserError, match="cannot load version 2: no such op; the stable version 1"):
        rollout.load(2, lambda: next(answers), 5)
    assert state(store).rejected == (2,)
    assert state(store).stable == 1


def test_unavailable_or_slow_server_is_reported(rollout, store) -> None:
    with pytest.raises(UserError, match="add --force"):
        rollout.load(2, lambda: None, 5)
    assert state(store).candidate is None
    with pytest.raises(UserError, match=r"within 0\.1 s"):
        rollout.load(2, lambda: {}, 0.1)


@pytest.mark.parametrize(
    ("version", "words"),
    [(None, "there is no candidate; the stable version is 1, pushed are 1, 2, 3"),
     (9, "version 9 is not in"), (1, "version 1 is already the stable version")],
)  # fmt: skip
def test_invalid_promotions_are_refused(rollout, version, words) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        rollout.choose(version)


def test_candidate_is_promoted_by_default(rollout) -> None:
    rollout.load(3, lambda: {3: UP}, 1)
    assert rollout.choose(None) == 3


def test_rollback_before_any_adoption_is_an_error(database, folder) -> None:
    with pytest.raises(UserError, match="adopts the newest"):
        ManualRollout(database, folder, "default", "me").roll_back("no")


def test_manual_rollout_imports_nothing_heavy() -> None:
    code = "import sys, serving.rollout.manual; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "scipy", "grpc", "tensorflow", "google.protobuf"} & set(modules)


def test_version_that_is_served_needs_no_trial(rollout, store) -> None:
    before = state(store)
    rollout.load(1, lambda: {1: UP}, 1)
    assert state(store) == before
    with pytest.raises(UserError, match="cannot load version 1"):
        rollout.load(1, lambda: {1: BROKEN}, 1)
    assert state(store) == before, "only a candidate is rejected"


def test_rollout_that_keeps_changing_is_an_error(rollout, monkeypatch) -> None:
    def change(*_, **__):
        raise ConflictError

    monkeypatch.setattr(RolloutStore, "change", change)
    with pytest.raises(UserError, match="keeps changing"):
        rollout.promote(2, "looks good")
