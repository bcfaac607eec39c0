"""The loop of ``bert watch``: poll until a signal arrives."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

from sqlalchemy.exc import SQLAlchemyError

from modules.contract.errors import UserError
from runners.triggers.history import ERROR, WATCH, Event
from runners.triggers.watcher import Watcher
from serving.records.database import cause_of

#: Pauses after failures in a row double from the first to the last, in seconds.
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0

#: Waits that many seconds, or until a signal asks to stop; then returns the signal's number.
Wait = Callable[[float], int | None]


def watch(make_watcher: Callable[[], Watcher], report: Callable[[Event], None], wait: Wait) -> int:
    """Poll until a signal arrives.

    Only a wrong config ends the loop; an unavailable database is waited for.

    Args:
        make_watcher: called until it succeeds.
        report: called with each event.
        wait: see ``Wait``.

    Returns:
        The signal's number.

    Raises:
        UserError: the config is wrong.
    """
    watcher: Watcher | None = None
    failures, said = 0, ""
    try:
        while True:
            try:
                if watcher is None:
                    watcher = make_watcher()
                    report(Event(WATCH, time.time(), _greeting(watcher)))
                for event in watcher.poll(time.time()).events:
                    report(event)
                if failures:
                    report(Event(WATCH, time.time(), "the watcher has recovered"))
                failures, said = 0, ""
            except Exception as error:
                if watcher is None and not _may_pass(error):
                    raise
                failures += 1
                sentence = _sentence(error)
                if sentence != said:
                    report(Event(ERROR, time.time(), sentence))
                said = sentence
            number = wait(_pause(watcher, failures))
            if number is not None:
                return number
    finally:
        if watcher is not None:
            watcher.close()


def exit_code(number: int) -> int:
    """Return the exit code of a program that a signal asked to end: 130 for Ctrl-C, else 0."""
    return 130 if number == signal.SIGINT else 0


def _may_pass(error: Exception) -> bool:
    """Return whether the database is unavailable, which ``Database`` raises as a ``UserError``."""
    cause = error.__cause__ if isinstance(error, UserError) else error
    return isinstance(cause, SQLAlchemyError)


def _sentence(error: Exception) -> str:
    if isinstance(error, SQLAlchemyError):
        return f"the database is unavailable, so no run starts: {cause_of(error)}"
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"


def _pause(watcher: Watcher | None, failures: int) -> float:
    if failures or watcher is None:
        return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 20), LAST_PAUSE)
    return watcher.config.triggers.interval_seconds


def _greeting(watcher: Watcher) -> str:
    settings = watcher.config.triggers
    wanted = {
        "schedule": settings.schedule,
        "feedback": settings.feedback_examples,
        "accuracy": settings.accuracy_drop,
        "drift": settings.drift,
        "new_data": settings.new_data,
    }
    on = [name for name, value in wanted.items() if value]
    rollout = ", rollout" if watcher.config.rollout.enabled else ""
    return (
        f"watching {watcher.config.pipeline.name} every {settings.interval_seconds:g} s: "
        f"{', '.join(on) or 'no trigger'}{rollout}; runs start on {settings.runner}"
    )


@contextlib.contextmanager
def stop_signals() -> Iterator[Wait]:
    """Defer SIGTERM and SIGINT until the current poll has ended.

    A second SIGINT interrupts at once.
    """
    # A pipe, because the code that a handler interrupts could hold the lock of a threading.Event.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        os.write(writer, b"!")

    def wait(seconds: float) -> int | None:
        select.select([reader], [], [], seconds)
        return received[0] if received else None

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
