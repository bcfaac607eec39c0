"""Measurements for the triggers. A failed measurement becomes a signal that says so."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from modules.contract.errors import one_line
from pipeline.config import Config
from runners.freshness.feedback_export import usable
from runners.freshness.monitoring import drift_report, quality_report
from runners.triggers import conditions, data_fingerprint
from runners.triggers.history import (
    ACCURACY,
    DRIFT,
    FEEDBACK,
    NEW_DATA,
    SCHEDULE,
    History,
    Signal,
    failed,
)
from runners.triggers.store import TriggerStore
from serving.records.database import Database

#: Minimum seconds between measurements of drift and quality, which ask the model server ...
MONITORING_SECONDS = 300.0
#: ... unless that many predictions or feedback items have arrived since.
MONITORING_PREDICTIONS = 200
MONITORING_VOTES = 20
#: Data files that changed within that many seconds may still be changing.
SETTLE_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Measures:
    """Functions that measure.

    Attributes:
        usable: counts the examples that the next span would hold.
        drift: see ``runners.freshness.monitoring.drift_report``.
        quality: see ``runners.freshness.monitoring.quality_report``.
    """

    usable: Callable[[Config, Database], int]
    drift: Callable[[Config, Database, float], Any]
    quality: Callable[[Config, Database, float], Any]


MEASURES = Measures(
    usable=lambda config, database: len(usable(config, database).examples),
    drift=drift_report,
    quality=quality_report,
)


class Sensors:
    """Signals of all triggers that are switched on.

    Args:
        config: says which triggers are on.
        database: holds traffic and feedback.
        store: counts rows in the database.
        measures: functions that measure.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        store: TriggerStore,
        measures: Measures = MEASURES,
    ) -> None:
        self._config = config
        self._settings = config.triggers
        self._database = database
        self._store = store
        self._measures = measures
        self._fingerprint: data_fingerprint.Fingerprint | None = None
        self._usable: tuple[tuple[Any, ...], int] | None = None
        self._monitored: tuple[float, tuple[Signal, ...]] | None = None

    def poll(self, history: History, now: float) -> tuple[tuple[Signal, ...], int | None]:
        """Measure everything once.

        Args:
            history: the recent runs and decisions.
            now: seconds since 1970.

        Returns:
            The signals, and the number of new feedback examples or None if unknown.

        Raises:
            SQLAlchemyError: the database is unavailable, so no decision could be recorded either.
        """
        settings, found = self._settings, []
        count, error = self._count_usable(history)
        if settings.schedule:
            schedule = partial(conditions.schedule, settings.schedule, history, now)
            found.append(self._guarded(SCHEDULE, schedule, history))
        if settings.feedback_examples:
            found.append(
                failed(FEEDBACK, error)
                if count is None
                else conditions.feedback(count, settings.feedback_examples)
            )
        found += self._monitoring(history, now)
        if settings.new_data:
            new_data = partial(self._new_data, history, now)
            found.append(self._guarded(NEW_DATA, new_data, history))
        return (*found, conditions.retry(history)), count

    def _guarded(self, name: str, measure: Callable[[], Signal], history: History) -> Signal:
        """Check one trigger; an error stops neither the other triggers nor the watcher.

        Raises:
            SQLAlchemyError: the database is unavailable.
        """
        try:
            return measure()
        except SQLAlchemyError:
            raise
        except Exception as error:
            carried = {
                key: value
                for key, value in history.signals.get(name, {}).items()
                if key not in ("fired", "sentence", "error")
            }
            return failed(name, one_line(error), carried)

    def _count_usable(self, history: History) -> tuple[int | None, str]:
        """Return the number of new examples and "", or None and why they cannot be counted.

        Raises:
            SQLAlchemyError: the database is unavailable.
        """
        settings = self._settings
        wanted = settings.feedback_examples or settings.drift or settings.accuracy_drop
        if not wanted:
            return None, ""
        last = history.last
        state = (*self._store.feedback_state(), last and (last.id, last.state))
        if not state[0] and not state[2]:
            return 0, ""  # no feedback: skip reading the test split, which is slow
        if self._usable is None or self._usable[0] != state:
            try:
                self._usable = state, self._measures.usable(self._config, self._database)
            except SQLAlchemyError:
                raise
            except Exception as error:
                self._usable = None
                return None, one_line(error)
        return self._usable[1], ""

    def _monitoring(self, history: History, now: float) -> tuple[Signal, ...]:
        """Return the signals of drift and accuracy, measured again only when due."""
        settings, config, database = self._settings, self._config, self._database
        measures: dict[str, Callable[[], Signal]] = {}
        if settings.accuracy_drop:
            measures[ACCURACY] = lambda: conditions.accuracy(
                self._measures.quality(config, database, now), settings.accuracy_drop
            )
        if settings.drift:
            measures[DRIFT] = lambda: conditions.drift(self._measures.drift(config, database, now))
        if measures and self._is_due(history, now):
            found = tuple(self._guarded(name, each, history) for name, each in measures.items())
            self._monitored = now, found
        return self._monitored[1] if self._monitored else ()

    def _is_due(self, history: History, now: float) -> bool:
        if self._monitored is None:
            return True
        then = self._monitored[0]
        ended = history.last.finished if history.last else None
        if ended is not None and ended > then:
            return True  # another model may be deployed
        if not 0 <= now - then < max(self._settings.interval_seconds, MONITORING_SECONDS):
            return True
        predictions, votes = self._store.count_since(then)
        return predictions >= MONITORING_PREDICTIONS or votes >= MONITORING_VOTES

    def _new_data(self, history: History, now: float) -> Signal:
        known = self._fingerprint
        stat = known.stat if known else history.carried(NEW_DATA, "stat")
        digest = known.digest if known else history.carried(NEW_DATA, "digest")
        self._fingerprint = data_fingerprint.take(self._config, stat, digest)
        return conditions.new_data(self._fingerprint, history, now, SETTLE_SECONDS)
