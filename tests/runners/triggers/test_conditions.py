import dataclasses
import os
from pathlib import Path

import pytest

from modules.contract.errors import DataError
from pipeline.config import Config, load
from runners.triggers import conditions, data_fingerprint
from runners.triggers.data_fingerprint import Fingerprint
from runners.triggers.history import FAILED, LOST, NEW_DATA, SCHEDULE, SUCCEEDED, History, RunRecord

MIDNIGHT = 1_772_323_200.0  # Sunday 2026-03-01 00:00 UTC
HOUR = 3600.0
NIGHTLY = "0 3 * * *"


def known(since: float, expression: str = NIGHTLY, *runs: RunRecord) -> History:
    return History(runs, {SCHEDULE: {"expression": expression, "since": since}})


def test_schedule_fires_at_its_time_and_not_before() -> None:
    history = known(MIDNIGHT)
    assert not conditions.schedule(NIGHTLY, history, MIDNIGHT + 3 * HOUR - 0.5).fired
    assert conditions.schedule(NIGHTLY, history, MIDNIGHT + 3 * HOUR).fired
    assert conditions.schedule(NIGHTLY, history, MIDNIGHT + 3 * HOUR + 0.5).fired


def test_missed_scheduled_times_count_once() -> None:
    week_later = MIDNIGHT + 7 * 24 * HOUR
    late = conditions.schedule(NIGHTLY, known(MIDNIGHT), week_later)
    assert late.fired
    assert "2026-03-07 03:00:00 UTC" in late.sentence
    started = RunRecord(1, "local", week_later, week_later + 60, SUCCEEDED)
    after = known(MIDNIGHT, NIGHTLY, started)
    assert not conditions.schedule(NIGHTLY, after, week_later + HOUR).fired
    assert conditions.schedule(NIGHTLY, after, week_later + 3 * HOUR).fired


@pytest.mark.parametrize("before", [History(), known(MIDNIGHT, "0 4 * * *")])
def test_new_schedule_counts_from_the_first_poll(before: History) -> None:
    now = MIDNIGHT + 12 * HOUR
    first = conditions.schedule(NIGHTLY, before, now)
    assert not first.fired
    assert first.details == {"expression": NIGHTLY, "since": now}
    then = History(signals={SCHEDULE: first.to_dict()})
    assert not conditions.schedule(NIGHTLY, then, now + HOUR).fired
    assert conditions.schedule(NIGHTLY, then, MIDNIGHT + 27 * HOUR).fired


def test_enough_feedback_fires() -> None:
    assert not conditions.feedback(9, 10).fired
    assert conditions.feedback(10, 10).fired


@dataclasses.dataclass(frozen=True)
class Quality:
    accuracy: float | None = 0.8
    interval: tuple[float, float] | None = (0.75, 0.85)
    evaluation_accuracy: float | None = 0.9


@pytest.mark.parametrize(
    ("report", "drop", "fired"),
    [
        (Quality(), 0.04, True),
        (Quality(), 0.06, False),
        (Quality(interval=(0.7, 0.95)), 0.01, False),
        (Quality(evaluation_accuracy=None), 0.01, False),
        (Quality(accuracy=None, interval=None), 0.01, False),
        (None, 0.01, False),
    ],
)
def test_accuracy_fires_only_if_the_whole_interval_is_below_the_limit(
    report: Quality | None, drop: float, fired: bool
) -> None:
    assert conditions.accuracy(report, drop).fired is fired


@dataclasses.dataclass(frozen=True)
class DriftTest:
    name: str
    raised: bool
    sentence: str


@dataclasses.dataclass(frozen=True)
class Drift:
    raised: bool
    tests: tuple[DriftTest, ...]


def test_drift_names_the_tests_that_raised_an_alarm() -> None:
    tests = (DriftTest("length", True, "texts are longer"), DriftTest("words", False, "no"))
    signal = conditions.drift(Drift(True, tests))
    assert signal.fired
    assert signal.sentence == "texts are longer"
    assert signal.details == {"tests": ["length"]}
    assert not conditions.drift(Drift(False, tests[1:])).fired
    assert not conditions.drift(None).fired


def test_new_data_compares_with_the_last_run_or_else_the_first_poll() -> None:
    first = conditions.new_data(Fingerprint("a", "s", 0.0), History(), MIDNIGHT, 5)
    assert not first.fired
    seen = History(signals={NEW_DATA: first.to_dict()})
    assert conditions.new_data(Fingerprint("b", "t", 0.0), seen, MIDNIGHT, 5).fired
    trained = RunRecord(1, "local", MIDNIGHT, MIDNIGHT, SUCCEEDED, details={"data": "b"})
    after = dataclasses.replace(seen, runs=(trained,))
    assert not conditions.new_data(Fingerprint("b", "t", 0.0), after, MIDNIGHT, 5).fired
    assert conditions.new_data(Fingerprint("a", "s", 0.0), after, MIDNIGHT, 5).fired


def test_files_that_are_still_changing_do_not_fire() -> None:
    seen = History(signals={NEW_DATA: {"baseline": "a"}})
    new = Fingerprint("b", "t", changed=MIDNIGHT)
    assert not conditions.new_data(new, seen, MIDNIGHT + 4, 5).fired
    assert conditions.new_data(new, seen, MIDNIGHT + 5, 5).fired


def test_files_dated_in_the_future_fire() -> None:
    seen = History(signals={NEW_DATA: {"baseline": "a"}})
    assert conditions.new_data(Fingerprint("b", "t", MIDNIGHT + 1e6), seen, MIDNIGHT, 5).fired


@pytest.mark.parametrize(("state", "fired"), [(FAILED, True), (LOST, True), (SUCCEEDED, False)])
def test_failed_or_lost_run_fires_retry(state: str, fired: bool) -> None:
    run = RunRecord(3, "local", MIDNIGHT, MIDNIGHT, state)
    assert conditions.retry(History((run,))).fired is fired
    assert not conditions.retry(History()).fired


@pytest.fixture
def data_config(tmp_path: Path) -> Config:
    (tmp_path / "data.csv").write_text("text,label\ngood,pos\n")
    return load(assignments=[f"data.path={tmp_path}/data.csv"], environ={})


def test_touched_file_keeps_its_digest(data_config: Config, tmp_path: Path) -> None:
    before = data_fingerprint.take(data_config, None, None)
    os.utime(tmp_path / "data.csv", (1, 1))
    after = data_fingerprint.take(data_config, before.stat, before.digest)
    assert after.stat != before.stat
    assert after.digest == before.digest
    assert after.changed == 1


def test_contents_are_read_only_if_sizes_or_times_differ(
    data_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = data_fingerprint.take(data_config, None, None)
    with monkeypatch.context() as patch:
        patch.setattr(data_fingerprint, "fingerprint", lambda sources: pytest.fail("was read"))
        same = data_fingerprint.take(data_config, before.stat, before.digest)
    assert same == before
    (tmp_path / "data.csv").write_text("text,label\ngood,pos\nbad,neg\n")
    assert data_fingerprint.take(data_config, before.stat, before.digest).digest != before.digest


def test_missing_data_is_named_in_the_error(data_config: Config, tmp_path: Path) -> None:
    (tmp_path / "data.csv").unlink()
    with pytest.raises(DataError, match=r"data\.csv"):
        data_fingerprint.take(data_config, None, None)
