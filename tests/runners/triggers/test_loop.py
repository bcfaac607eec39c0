import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from modules.contract.errors import UserError
from runners.triggers import loop
from runners.triggers.config_source import ConfigSource
from runners.triggers.history import DECISION, ERROR, WATCH, Event
from runners.triggers.watcher import Watcher
from tests.pipeline import database_servers


class Waits:
    """Stub that records the length of each pause and ends the loop at the n-th."""

    def __init__(self, count: int) -> None:
        self.seconds: list[float] = []
        self._count = count

    def __call__(self, seconds: float) -> int | None:
        self.seconds.append(seconds)
        return signal.SIGTERM if len(self.seconds) == self._count else None


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], Watcher]:
    (tmp_path / "data.csv").write_text("text,label\ngood,pos\n")
    return lambda: Watcher(
        ConfigSource(
            None,
            (
                f"pipeline.root={tmp_path}/root",
                f"data.path={tmp_path}/data.csv",
                "triggers.drift=false",
                "triggers.interval_seconds=7",
            ),
        )
    )


def unavailable() -> OperationalError:
    return OperationalError("SELECT 1", {}, Exception("connection refused\nis it running?"))


def test_loop_greets_polls_and_ends(make: Callable[[], Watcher]) -> None:
    events: list[Event] = []
    wait = Waits(3)
    assert loop.watch(make, events.append, wait) == signal.SIGTERM
    assert wait.seconds == [7, 7, 7]
    assert [event.kind for event in events] == [WATCH, DECISION]
    assert "every 7 s: new_data; runs start on local" in events[0].sentence


def test_lost_database_is_waited_for(
    make: Callable[[], Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = iter([None, unavailable(), unavailable(), unavailable(), None])
    real = Watcher.poll

    def poll(self: Watcher, now: float):
        error = next(outcomes)
        if error:
            raise error
        return real(self, now)

    monkeypatch.setattr(Watcher, "poll", poll)
    events: list[Event] = []
    wait = Waits(5)
    loop.watch(make, events.append, wait)
    assert wait.seconds == [7, 1, 2, 4, 7]
    errors = [event.sentence for event in events if event.kind == ERROR]
    assert errors == ["the database is unavailable, so no run starts: connection refused"]
    assert events[-1].sentence == "the watcher has recovered"


def test_database_that_does_not_answer_at_start_is_waited_for(make: Callable[[], Watcher]) -> None:
    attempts: list[int] = []

    def make_later() -> Watcher:
        attempts.append(1)
        if len(attempts) < 3:
            raise UserError("the database cannot be opened") from unavailable()
        return make()

    events: list[Event] = []
    wait = Waits(3)
    loop.watch(make_later, events.append, wait)
    assert wait.seconds == [1, 2, 7]
    assert events[0].kind == ERROR
    assert "watching" in events[1].sentence


def test_pauses_grow_up_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> Watcher:
        raise UserError("the database cannot be opened") from unavailable()

    wait = Waits(9)
    loop.watch(never, lambda event: None, wait)
    assert wait.seconds[-3:] == [60, 60, 60]


def test_wrong_config_ends_the_loop() -> None:
    def wrong() -> Watcher:
        return Watcher(ConfigSource(None, ("triggers.schedule=61 * * * *",)))

    with pytest.raises(UserError, match=r"triggers\.schedule"):
        loop.watch(wrong, lambda event: None, Waits(1))


def test_unexpected_error_in_a_poll_does_not_end_the_loop(
    make: Callable[[], Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watcher, "poll", lambda self, now: 1 / 0)
    events: list[Event] = []
    loop.watch(make, events.append, Waits(3))
    errors = [event.sentence for event in events if event.kind == ERROR]
    assert errors == ["unexpected ZeroDivisionError: division by zero"]


def test_signal_ends_the_pause() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with loop.stop_signals() as wait:
        assert wait(0) is None
        signal.raise_signal(signal.SIGTERM)
        assert wait(600) == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_loss_of_a_real_database_is_reported_and_starts_no_run(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,label\ngood,pos\n")
    events: list[Event] = []
    with contextlib.ExitStack() as server:
        url = server.enter_context(database_servers.postgresql("s3cret"))
        options = (
            f"pipeline.root={tmp_path}/root",
            f"data.path={tmp_path}/data.csv",
            f"feedback.database_url={url}",
            "triggers.drift=false",
        )
        pauses = Waits(3)

        def wait(seconds: float) -> int | None:
            server.close()
            (tmp_path / "data.csv").write_text("text,label\nbad,neg\n")
            os.utime(tmp_path / "data.csv", (1, 1))
            return pauses(seconds)

        loop.watch(lambda: Watcher(ConfigSource(None, options)), events.append, wait)
    assert pauses.seconds == [60, 1, 2]
    assert [event.kind for event in events] == [WATCH, DECISION, ERROR]
    assert events[-1].sentence.startswith("the database is unavailable, so no run starts: ")
    assert "s3cret" not in events[-1].sentence
    assert not list((tmp_path / "root").glob("triggers/run-*"))
