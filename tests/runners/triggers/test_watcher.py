"""A watcher in this process; its runs are small processes."""

import dataclasses
import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from runners.local.run import _exclusive
from runners.triggers import launch
from runners.triggers.config_source import ConfigSource
from runners.triggers.history import FAILED, LOST, SUCCEEDED
from runners.triggers.job import Step
from runners.triggers.poll import Poll
from runners.triggers.sensors import Measures
from runners.triggers.store import TriggerStore, last_decisions
from runners.triggers.watcher import Watcher
from serving.records.tables import DecisionRow
from tests.runners.triggers.processes import RUN, begun, end_runs, until
from tests.runners.triggers.test_conditions import Drift, DriftTest, Quality

RAISED = Drift(True, (DriftTest("length", True, "texts are longer"),))
CALM = Drift(False, ())


@dataclasses.dataclass
class World:
    """Measurements that the watcher gets, set by the tests."""

    folder: Path
    usable: int | Exception = 0
    drift: Drift | Exception | None = None
    quality: Quality | None = None
    drift_calls: int = 0
    usable_calls: int = 0

    def measures(self) -> Measures:
        return Measures(self._usable, self._drift, lambda *_: self.quality)

    def _usable(self, *_: Any) -> int:
        self.usable_calls += 1
        if isinstance(self.usable, Exception):
            raise self.usable
        return self.usable

    def _drift(self, *_: Any) -> Drift | None:
        self.drift_calls += 1
        if isinstance(self.drift, Exception):
            raise self.drift
        return self.drift

    def source(self, *assignments: str) -> ConfigSource:
        fixed = (
            f"pipeline.root={self.folder}/root",
            f"data.path={self.folder}/data.csv",
            "triggers.cooldown_minutes=0",
        )
        return ConfigSource(None, (*fixed, *assignments))

    def write(self, rows: int, age: float = 60.0) -> None:
        """Write the data file, dated ``age`` seconds ago."""
        path = self.folder / "data.csv"
        path.write_text("text,label\n" + "good,pos\n" * rows)
        os.utime(path, (time.time() - age,) * 2)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.write(1)
    yield world
    end_runs(tmp_path)


def steps(source: ConfigSource, runner: str, folder: Path) -> list[Step]:
    root = Path(source.load().pipeline_root())
    return [Step("run", [sys.executable, "-c", RUN, str(root.parent)])]


#: Launcher that starts these steps in place of the pipeline.
small_runs = functools.partial(launch.Launcher, steps=steps)


@pytest.fixture
def make(world: World) -> Iterator[Callable[..., Watcher]]:
    made: list[Watcher] = []

    def make(*assignments: str) -> Watcher:
        source, measures = world.source(*assignments), world.measures()
        made.append(Watcher(source, make_launcher=small_runs, measures=measures))
        return made[-1]

    yield make
    for watcher in made:
        watcher.close()


def runs(watcher: Watcher) -> list[str]:
    history = TriggerStore(watcher.database, watcher.config.triggers).history()
    return [run.state for run in reversed(history.runs)]


def finish(watcher: Watcher, world: World, code: int = 0) -> None:
    """End the active run, and poll until the watcher has recorded it."""
    (world.folder / "go").write_text(str(code))
    until(lambda: watcher.poll(time.time()) and "running" not in runs(watcher)[:1])
    (world.folder / "go").unlink()


def decisions(watcher: Watcher) -> list[DecisionRow]:
    return list(reversed(last_decisions(watcher.database, 100)))


def sentences(poll: Poll) -> str:
    return "\n".join(event.sentence for event in poll.events)


def test_new_data_starts_a_run_once(make: Callable[..., Watcher], world: World) -> None:
    watcher = make()
    assert not watcher.poll(time.time()).decision.started
    world.write(2)
    poll = watcher.poll(time.time())
    assert poll.decision.started
    assert "run 1 started (local)" in sentences(poll)
    until(lambda: begun(world.folder))
    finish(watcher, world)
    assert runs(watcher) == [SUCCEEDED]
    for _ in range(3):
        assert watcher.poll(time.time()).events == ()
    assert len(begun(world.folder)) == 1
    assert [row.started for row in decisions(watcher)] == [False, True, False]


def test_second_run_is_held_back_and_recorded_while_one_is_running(
    make: Callable[..., Watcher], world: World
) -> None:
    watcher = make()
    watcher.poll(time.time())
    world.write(2)
    watcher.poll(time.time())
    world.write(3)
    poll = watcher.poll(time.time())
    assert not poll.decision.started
    assert "run 1 is running" in poll.decision.reason
    assert watcher.poll(time.time()).events == ()
    assert decisions(watcher)[-1].triggers == ["new_data"]
    until(lambda: begun(world.folder))
    (world.folder / "go").touch()
    until(lambda: watcher.poll(time.time()).decision.started)
    until(lambda: len(begun(world.folder)) == 2)
    assert [others for _, others in begun(world.folder)] == [0, 0]


def test_failed_run_is_retried_within_the_budget(
    make: Callable[..., Watcher], world: World
) -> None:
    watcher = make("triggers.runs_per_day=2")
    watcher.poll(time.time())
    world.write(2)
    watcher.poll(time.time())
    (world.folder / "go").write_text("3")
    until(lambda: len(begun(world.folder)) == 2 or watcher.poll(time.time()) is None)
    until(lambda: watcher.poll(time.time()) and runs(watcher) == [FAILED, FAILED])
    poll = watcher.poll(time.time())
    assert poll.decision.triggers == ("retry",)
    assert "2 of 2 runs started within 24 hours" in poll.decision.reason
    assert len(begun(world.folder)) == 2


def test_run_whose_process_disappears_is_lost_and_retried(
    make: Callable[..., Watcher], world: World
) -> None:
    watcher = make()
    watcher.poll(time.time())
    world.write(2)
    poll = watcher.poll(time.time())
    until(lambda: begun(world.folder))
    (command, *_) = begun(world.folder)[0]
    psutil.Process(command).parent().kill()
    assert not watcher.poll(time.time()).decision.started, "its command is still running"
    assert runs(watcher) == ["running"]
    os.kill(command, signal.SIGKILL)
    until(lambda: watcher.poll(time.time()) and len(runs(watcher)) == 2)
    assert runs(watcher)[0] == LOST
    assert poll.run_id == 1


def test_run_of_a_watcher_that_died_before_the_start_is_lost(
    make: Callable[..., Watcher], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = make()
    watcher.poll(time.time())
    world.write(2)
    with monkeypatch.context() as patch:
        patch.setattr(launch.Launcher, "start", _die)
        with pytest.raises(SystemExit):
            watcher.poll(time.time())
    assert runs(watcher) == ["running"]
    after = make()
    poll = after.poll(time.time())
    assert "run 1 lost" in sentences(poll)
    assert poll.decision.started
    assert poll.decision.triggers == ("retry",)


def _die(*_: Any) -> None:
    raise SystemExit(9)


def test_process_that_cannot_start_is_a_failed_run(
    make: Callable[..., Watcher], world: World
) -> None:
    watcher = make()
    watcher.poll(time.time())
    world.write(2)
    now = time.time()
    (world.folder / "root" / "triggers").mkdir(parents=True)
    small_runs(watcher.config, world.source()).job_folder(1, now).touch()
    poll = watcher.poll(now)
    assert "run 1 cannot be started" in sentences(poll)
    assert runs(watcher) == [FAILED]


def test_manual_run_holds_back_a_triggered_one(make: Callable[..., Watcher], world: World) -> None:
    watcher = make()
    watcher.poll(time.time())
    world.write(2)
    with _exclusive(world.folder / "root"):
        poll = watcher.poll(time.time())
        assert "started by hand is running" in poll.decision.reason
    assert watcher.poll(time.time()).decision.started


def test_drift_is_held_back_until_there_are_examples(
    make: Callable[..., Watcher], world: World
) -> None:
    watcher = make("triggers.min_new_examples=10")
    world.drift = RAISED
    _vote(watcher, "good")
    world.usable = 9
    poll = watcher.poll(time.time())
    assert "9 new feedback examples, 10 needed" in poll.decision.reason
    world.usable = 10
    assert not watcher.poll(time.time()).decision.started, "nothing has changed in the database"
    _vote(watcher, "bad")
    poll = watcher.poll(time.time())
    assert poll.decision.started
    assert "drift: texts are longer" in poll.decision.reason


def _vote(watcher: Watcher, text: str) -> None:
    from serving.feedback.store import FeedbackStore

    FeedbackStore(watcher.database).add_vote(key_id="k", label="pos", text=text)


def test_drift_is_measured_every_five_minutes(make: Callable[..., Watcher], world: World) -> None:
    watcher = make()
    world.drift = CALM
    now = time.time()
    for seconds in (0, 60, 299):
        watcher.poll(now + seconds)
    assert world.drift_calls == 1
    watcher.poll(now + 300)
    assert world.drift_calls == 2


def test_traffic_makes_drift_due(make: Callable[..., Watcher], world: World) -> None:
    from serving.feedback.store import FeedbackStore
    from tests.serving.records.rows import prediction

    watcher = make()
    now = time.time()
    watcher.poll(now)
    rows = [prediction("r", f"text {n}", n, created=now + 1) for n in range(200)]
    FeedbackStore(watcher.database).record_predictions(rows[:199])
    watcher.poll(now + 2)
    assert world.drift_calls == 1
    FeedbackStore(watcher.database).record_predictions(rows)
    watcher.poll(now + 3)
    assert world.drift_calls == 2


def test_usable_feedback_is_counted_only_after_a_change(
    make: Callable[..., Watcher], world: World
) -> None:
    watcher = make("triggers.feedback_examples=3")
    watcher.poll(time.time())
    assert world.usable_calls == 0, "there is no feedback"
    world.usable = 2
    _vote(watcher, "one")
    watcher.poll(time.time())
    watcher.poll(time.time())
    assert world.usable_calls == 1
    world.usable = 3
    _vote(watcher, "two")
    assert watcher.poll(time.time()).decision.triggers == ("feedback",)


def test_trigger_that_cannot_be_checked_is_reported_once_and_stops_no_other(
    make: Callable[..., Watcher], world: World
) -> None:
    watcher = make()
    world.drift = ConnectionError("no server\nanswers")
    poll = watcher.poll(time.time())
    assert "drift: no server answers" in sentences(poll)
    assert decisions(watcher)[-1].details["signals"]["drift"]["error"] == "no server answers"
    assert watcher.poll(time.time()).events == ()
    world.write(2)
    assert watcher.poll(time.time()).decision.started


def test_data_that_was_missing_for_a_while_does_not_count_as_new(
    make: Callable[..., Watcher], world: World
) -> None:
    watcher = make("triggers.drift=false")
    watcher.poll(time.time())
    path = world.folder / "data.csv"
    path.rename(world.folder / "away.csv")
    poll = watcher.poll(time.time())
    assert poll.decision.details["signals"]["new_data"]["error"]
    (world.folder / "away.csv").rename(path)
    assert not watcher.poll(time.time()).decision.started
    assert not make("triggers.drift=false").poll(time.time()).decision.started


def test_feedback_that_cannot_be_counted_fires_nothing(
    make: Callable[..., Watcher], world: World
) -> None:
    watcher = make("triggers.feedback_examples=3")
    _vote(watcher, "one")
    world.usable, world.drift = RuntimeError("the test split is lost"), RAISED
    poll = watcher.poll(time.time())
    assert not poll.decision.started
    assert poll.decision.details["signals"]["feedback"]["error"] == "the test split is lost"
    assert "cannot be counted" in poll.decision.reason


def test_accuracy_drop_starts_a_run(make: Callable[..., Watcher], world: World) -> None:
    watcher = make("triggers.accuracy_drop=0.02", "triggers.min_new_examples=0")
    world.quality = Quality()
    poll = watcher.poll(time.time())
    assert poll.decision.started
    assert poll.decision.triggers == ("accuracy",)


def test_schedule_outlives_the_watcher(make: Callable[..., Watcher], world: World) -> None:
    options = ("triggers.schedule=@hourly", "triggers.new_data=false", "triggers.drift=false")
    now = 1_772_366_400.0 + 1800
    assert not make(*options).poll(now).decision.started
    poll = make(*options).poll(now + 5 * 3600)
    assert poll.decision.started
    assert poll.decision.triggers == ("schedule",)


def test_steps_export_first_and_have_the_same_options(tmp_path: Path) -> None:
    source = ConfigSource("imdb", ("trainer.epochs=1", "pipeline.name=x"))
    export, run = launch.bert_steps(source, "local", tmp_path)
    options = ["--config=imdb", "--set=trainer.epochs=1", "--set=pipeline.name=x"]
    assert not export.required
    assert run.required
    assert export.command == [sys.executable, "-m", "cli.main", "feedback", "export", *options]
    assert run.command == [sys.executable, "-m", "cli.main", "run", *options]


def test_rollout_advances_and_its_failure_stops_nothing(
    make: Callable[..., Watcher], world: World
) -> None:
    options = ("rollout.enabled=true", f"pusher.base_directory={world.folder}/pushed")
    watcher = make(*options, "gateway.server_url=grpc://127.0.0.1:9")
    assert "adopt" not in sentences(watcher.poll(time.time()))
    (world.folder / "pushed" / "3").mkdir(parents=True)
    (world.folder / "pushed" / "3" / "saved_model.pb").touch()
    poll = watcher.poll(time.time())
    [event] = [event for event in poll.events if event.kind == "rollout"]
    assert event.details["version"] == 3
    assert event.details["action"] == "adopt"
    remote = make("rollout.enabled=true", "pusher.base_directory=gs://bucket/pushed")
    poll = remote.poll(time.time())
    assert "rollout: " in sentences(poll)
    assert poll.decision is not None
    world.write(2)
    assert remote.poll(time.time()).decision.started


def test_drift_without_a_model_server_is_an_error_in_the_decision(
    world: World, make: Callable[..., Watcher]
) -> None:
    """The real measures, without a model server."""
    from serving.feedback.store import FeedbackStore
    from tests.serving.records.rows import prediction

    options = ("gateway.server_url=grpc://127.0.0.1:9", f"pusher.base_directory={world.folder}/no")
    watcher = Watcher(world.source(*options), make_launcher=small_runs)
    now = time.time()
    rows = [prediction("r", f"text number {n}", n, created=now - 1) for n in range(250)]
    FeedbackStore(watcher.database).record_predictions(rows)
    poll = watcher.poll(now)
    assert poll.decision.details["signals"]["drift"]["error"]
    world.write(2)
    assert watcher.poll(time.time()).decision.started
    watcher.close()
