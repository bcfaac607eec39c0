"""The watcher: its poll advances the rollout, checks active runs and may start a run."""

import dataclasses
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from pipeline.config import Config
from pipeline.schedule import check_schedule
from runners.triggers import sensors
from runners.triggers.config_source import ConfigSource
from runners.triggers.decide import TriggerDecision, decide
from runners.triggers.history import (
    DECISION,
    ERROR,
    FAILED,
    NEW_DATA,
    ROLLOUT,
    RUN,
    RUNNING,
    Event,
    History,
    RunRecord,
    Signal,
)
from runners.triggers.launch import Launcher
from runners.triggers.poll import Poll
from runners.triggers.run_lock import RunLock
from runners.triggers.store import Recorded, TriggerStore
from serving.records.database import Database


class Watcher:
    """Watcher of one pipeline. Several may watch the same pipeline.

    Args:
        source: the source of the config.
        make_launcher: makes the launcher of runs.
        measures: functions that measure feedback, drift and quality.

    Raises:
        UserError: the config is wrong, or the database cannot be opened.
    """

    def __init__(
        self,
        source: ConfigSource,
        *,
        make_launcher: Callable[[Config, ConfigSource], Launcher] = Launcher,
        measures: sensors.Measures = sensors.MEASURES,
    ) -> None:
        self.config: Config = source.load()
        check_schedule(self.config.triggers.schedule)
        self.database = Database(self.config.database_url())
        self._store = TriggerStore(self.database, self.config.triggers)
        self._sensors = sensors.Sensors(self.config, self.database, self._store, measures)
        self._launcher = make_launcher(self.config, source)
        self._reported: dict[str, str] = {}

    def close(self) -> None:
        """Close the database. Active runs continue."""
        self.database.close()

    def poll(self, now: float) -> Poll:
        """Poll once.

        Args:
            now: seconds since 1970.

        Raises:
            SQLAlchemyError: the database is unavailable; no run was started.
            UserError: the folder of the lock cannot be written.
        """
        found = [*self._advance_rollout(now), *self._check_runs(now)]
        history = self._store.history()
        signals, usable = self._sensors.poll(history, now)
        for signal in signals:
            found += self._report_once(signal.name, signal.error, now)
        recorded = self._decide(signals, usable, history, now, found)
        if recorded is None:
            return Poll(None, None, tuple(found))
        return Poll(recorded.decision, recorded.run_id, tuple(found))

    def resume(self, external_id: str, now: float) -> RunRecord | None:
        """Continue a run that an earlier poll started, without a new decision.

        Args:
            external_id: the platform's id of the run.
            now: seconds since 1970.

        Returns:
            The run, running again if it had ended; None if no poll started it.

        Raises:
            UserError: it had ended, and another run is running.
            SQLAlchemyError: the database is unavailable.
        """
        tuple(self._check_runs(now))
        return self._store.resume_run(self._launcher.runner, external_id)

    def wait(self) -> tuple[Event, ...]:
        """Wait until the run that was started here has ended, or is submitted.

        Returns:
            What became known of the active runs.
        """
        self._launcher.wait()
        return tuple(self._check_runs(time.time()))

    def _decide(
        self,
        signals: tuple[Signal, ...],
        usable: int | None,
        history: History,
        now: float,
        found: list[Event],
    ) -> Recorded | None:
        settings, launcher = self.config.triggers, self._launcher
        lock, busy = None, ""
        if decide(signals, settings, history, now, usable).started:
            lock, busy = launcher.prepare()

        def decide_again(past: History) -> TriggerDecision:
            past = dataclasses.replace(past, busy=busy)
            return decide(signals, settings, past, now, usable)

        try:
            data = next((s.details.get("digest") for s in signals if s.name == NEW_DATA), None)
            new_run = launcher.new_run()
            if data:
                new_run = dataclasses.replace(new_run, details={**new_run.details, "data": data})
            recorded = self._store.record(decide_again, history, now, new_run)
            if recorded and recorded.new:
                details = {**recorded.decision.to_dict(), "run": recorded.run_id}
                found.append(Event(DECISION, now, recorded.decision.reason, details))
            if recorded and recorded.run_id is not None and lock is not None:
                found.append(self._start(recorded.run_id, lock, now))
            return recorded
        finally:
            if lock is not None:
                lock.close()

    def _start(self, run_id: int, lock: RunLock, now: float) -> Event:
        runner = self._launcher.runner
        try:
            seen_at = self._launcher.start(run_id, now, lock)
        except OSError as error:
            sentence = f"run {run_id} cannot be started: {error}"
            self._store.update_run(
                run_id, state=FAILED, finished=now, details={"sentence": sentence}
            )
            return Event(ERROR, now, sentence, {"run": run_id})
        self._reported[f"run {run_id}"] = f"run {run_id}: it is running"
        places = "".join(f", {what} {place}" for what, place in seen_at.items())
        details = {"run": run_id, "runner": runner, **seen_at}
        return Event(RUN, now, f"run {run_id} started ({runner}){places}", details)

    def _check_runs(self, now: float) -> Iterable[Event]:
        """Record the progress of active runs."""
        for run in self._store.history().runs:
            if run.running:
                yield from self._check_run(run, now)

    def _check_run(self, run: RunRecord, now: float) -> Iterable[Event]:
        status = self._launcher.status(run, now)
        said = f"run {run.id}: {status.sentence}"
        details = {"run": run.id, "state": status.state, **status.details}
        if status.state == RUNNING:
            if status.external_id != run.external_id:
                self._store.update_run(
                    run.id, external_id=status.external_id, details=status.details
                )
            yield from self._report_once(f"run {run.id}", said, now, RUN, details)
            return
        kept = {**status.details, "sentence": status.sentence}
        ended = now if status.finished is None else status.finished
        if self._store.update_run(run.id, state=status.state, finished=ended, details=kept):
            said = f"run {run.id} {status.state}: {status.sentence}"
            yield Event(RUN, now, said, details)

    def _advance_rollout(self, now: float) -> Iterable[Event]:
        if not self.config.rollout.enabled:
            return
        try:
            done = self._controller().step(now)
        except SQLAlchemyError:
            raise
        except Exception as error:
            yield from self._report_once("rollout", f"{type(error).__name__}: {error}", now)
            return
        self._reported.pop("rollout", None)
        for event in done:
            sentence = f"version {event.version}: {event.action}, {event.reason}"
            details = {"action": event.action, "version": event.version, **event.details}
            yield Event(ROLLOUT, now, sentence, details)

    def _controller(self) -> Any:
        from serving.rollout.controller import RolloutController
        from serving.rollout.server_status import AskedServer

        gateway = self.config.gateway
        return RolloutController(
            self.database,
            self.config.push_directory(),
            gateway.model_name,
            self.config.rollout,
            AskedServer(gateway.server_url, gateway.model_name),
        )

    def _report_once(
        self,
        about: str,
        sentence: str,
        now: float,
        kind: str = ERROR,
        details: dict[str, Any] | None = None,
    ) -> Iterable[Event]:
        """Yield an event if the sentence about a subject differs from the last one."""
        if self._reported.get(about, "") == sentence:
            return
        self._reported[about] = sentence
        if sentence:
            said = f"{about}: {sentence}" if kind == ERROR else sentence
            yield Event(kind, now, said, details or {})


def poll_once(
    watcher: Watcher, *, wait: bool, on_poll: Callable[[Poll], None] = lambda poll: None
) -> Poll:
    """Poll once and close the watcher.

    Args:
        watcher: the watcher, which is closed at the end.
        wait: whether to wait until a run that is started has ended or is submitted.
        on_poll: called with the poll before the wait.

    Returns:
        The poll, with the events of the wait.

    Raises:
        SQLAlchemyError: the database is unavailable.
        UserError: the folder of the lock cannot be written.
    """
    with closing(watcher):
        poll = watcher.poll(time.time())
        on_poll(poll)
        if wait and poll.run_id is not None:
            poll = dataclasses.replace(poll, awaited=watcher.wait())
    return poll
