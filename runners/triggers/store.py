"""Store of decisions and triggered runs."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from modules.contract.errors import UserError
from pipeline.sections.freshness import TriggersSection
from runners.triggers.decide import TriggerDecision
from runners.triggers.history import RUNNING, DecisionRecord, History, RunRecord
from serving.records import tables
from serving.records.database import Database, is_postgresql

#: Runs to read in addition to those of the budget, to count failures in a row.
_MORE_RUNS = 10


@dataclasses.dataclass(frozen=True)
class NewRun:
    """Values of a run that starts; see ``serving.records.tables.TriggeredRunRow``."""

    runner: str
    external_id: str = ""
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A decision, and what was stored of it.

    Attributes:
        decision: the decision.
        run_id: id of the run that it starts, or None.
        new: whether it was stored; a decision like the last recorded one is not.
    """

    decision: TriggerDecision
    run_id: int | None
    new: bool


class TriggerStore:
    """Decisions and runs of one pipeline.

    Args:
        database: the database, which all watchers of the pipeline share.
        settings: gives the budget, and so how many runs are read.
    """

    def __init__(self, database: Database, settings: TriggersSection) -> None:
        self._database = database
        self._limit = settings.runs_per_day + _MORE_RUNS

    def history(self) -> History:
        """Read the recent runs and the newest decision.

        Raises:
            SQLAlchemyError: the database is unavailable.
        """
        with self._database.read() as session:
            return self._history(session)

    def record(
        self,
        decide: Callable[[History], TriggerDecision],
        seen: History,
        now: float,
        new_run: NewRun,
    ) -> Recorded | None:
        """Decide and store the decision, with the run that it starts, in one transaction.

        Only one watcher at a time can hold it, so that no two start a run on the same history.

        Args:
            decide: makes the decision from the history as it is now.
            seen: the history that the signals are based on.
            now: seconds since 1970.
            new_run: values of the run, if one starts.

        Returns:
            None if another watcher has started a run since ``seen``: the signals are outdated.

        Raises:
            SQLAlchemyError: the database is unavailable; nothing was written.
        """
        with self._database.begin() as session:
            _one_writer(session)
            history = self._history(session)
            if _last_id(history) != _last_id(seen):
                return None
            decision = decide(history)
            if not decision.started and decision.key == history.key:
                return Recorded(decision, None, new=False)
            run_id = _add_run(session, decision, now, new_run)
            session.add(
                tables.DecisionRow(
                    created=now,
                    started=decision.started,
                    triggers=list(decision.triggers),
                    reason=decision.reason,
                    details={**decision.details, "key": decision.key},
                    run_id=run_id,
                )
            )
        return Recorded(decision, run_id, new=True)

    def update_run(self, run_id: int, **values: Any) -> bool:
        """Set columns of a run if it is still running; ``details`` are merged.

        Returns:
            Whether it was running: another watcher may already have recorded its end.

        Raises:
            SQLAlchemyError: the database is unavailable; nothing was written.
        """
        details = values.pop("details", {})
        with self._database.begin() as session:
            row = session.get(tables.TriggeredRunRow, run_id, with_for_update=True)
            if row is None or row.state != RUNNING:
                return False
            for name, value in values.items():
                setattr(row, name, value)
            row.details = {**row.details, **details}
        return True

    def find_run(self, runner: str, external_id: str) -> RunRecord | None:
        """Find a run by the platform's id; None if no trigger started it.

        Raises:
            SQLAlchemyError: the database is unavailable.
        """
        with self._database.read() as session:
            row = _of_platform(session, runner, external_id)
            return _run(row) if row else None

    def resume_run(self, runner: str, external_id: str) -> RunRecord | None:
        """Find a run by the platform's id, and set it to running if it had ended.

        Raises:
            UserError: it had ended, and another run is running.
            SQLAlchemyError: the database is unavailable; nothing was written.
        """
        with self._database.begin() as session:
            _one_writer(session)
            row = _of_platform(session, runner, external_id)
            if row is None or row.state == RUNNING:
                return _run(row) if row else None
            running = select(tables.TriggeredRunRow.id).where(
                tables.TriggeredRunRow.state == RUNNING
            )
            other = session.scalars(running).first()
            if other is not None:
                raise UserError(
                    f"run {row.id} ({external_id}) cannot continue while run {other} is running; "
                    "wait until it has ended: bert decisions"
                )
            row.state, row.finished = RUNNING, None
            return _run(row)

    def count_since(self, moment: float) -> tuple[int, int]:
        """Count the predictions and the feedback items since a time, seconds since 1970."""
        with self._database.read() as session:
            predictions = select(func.count()).where(tables.PredictionRow.created > moment)
            votes = select(func.count()).where(tables.FeedbackRow.updated > moment)
            return session.execute(predictions).scalar_one(), session.execute(votes).scalar_one()

    def feedback_state(self) -> tuple[Any, ...]:
        """Return values that differ whenever the usable feedback may have changed.

        Returns:
            Count and last time of feedback, count and last time of reviews, number of the last
            span.
        """
        feedback, review = tables.FeedbackRow, tables.ReviewRow
        with self._database.read() as session:
            votes = session.execute(select(func.count(feedback.id), func.max(feedback.updated)))
            reviews = session.execute(
                select(func.count(review.text_identity), func.max(review.created))
            )
            spans = select(func.max(tables.SpanRow.number))
            return (*votes.one(), *reviews.one(), session.execute(spans).scalar())

    def _history(self, session: Session) -> History:
        newest = tables.TriggeredRunRow.id.desc()
        rows = session.scalars(select(tables.TriggeredRunRow).order_by(newest).limit(self._limit))
        last = session.scalars(
            select(tables.DecisionRow).order_by(tables.DecisionRow.id.desc()).limit(1)
        ).first()
        details = last.details if last else {}
        return History(
            runs=tuple(_run(row) for row in rows),
            signals=details.get("signals", {}),
            key=details.get("key", ""),
        )


def last_decisions(database: Database, count: int) -> Sequence[tables.DecisionRow]:
    """Read the last decisions, the newest first.

    Raises:
        SQLAlchemyError: the database is unavailable.
    """
    query = select(tables.DecisionRow).order_by(tables.DecisionRow.id.desc()).limit(count)
    with database.read() as session:
        return session.scalars(query).all()


def read_decisions(database: Database, count: int) -> list[DecisionRecord]:
    """Read the last decisions with the runs that they started, the newest first.

    Raises:
        SQLAlchemyError: the database is unavailable.
    """
    rows = last_decisions(database, count)
    runs = run_states(database, [row.run_id for row in rows if row.run_id is not None])
    return [
        DecisionRecord(
            id=row.id,
            created=row.created,
            started=row.started,
            triggers=row.triggers,
            reason=row.reason,
            details=row.details,
            run=runs.get(row.run_id or 0),
        )
        for row in rows
    ]


def run_states(database: Database, run_ids: Sequence[int]) -> dict[int, RunRecord]:
    """Read runs by id."""
    query = select(tables.TriggeredRunRow).where(tables.TriggeredRunRow.id.in_(run_ids))
    with database.read() as session:
        return {row.id: _run(row) for row in session.scalars(query)}


def _of_platform(session: Session, runner: str, external_id: str) -> tables.TriggeredRunRow | None:
    run = tables.TriggeredRunRow
    found = select(run).where(run.runner == runner, run.external_id == external_id)
    return session.scalars(found.order_by(run.id.desc()).limit(1)).first()


def _one_writer(session: Session) -> None:
    """Lock the table on PostgreSQL; SQLite allows only one write transaction anyway."""
    if is_postgresql(session):
        session.execute(text("LOCK TABLE triggered_runs IN SHARE ROW EXCLUSIVE MODE"))


def _add_run(
    session: Session, decision: TriggerDecision, now: float, new_run: NewRun
) -> int | None:
    if not decision.started:
        return None
    row = tables.TriggeredRunRow(
        runner=new_run.runner,
        started=now,
        finished=None,
        state=RUNNING,
        external_id=new_run.external_id,
        details={**new_run.details, "triggers": list(decision.triggers)},
    )
    session.add(row)
    session.flush()
    return row.id


def _run(row: tables.TriggeredRunRow) -> RunRecord:
    names = (field.name for field in dataclasses.fields(RunRecord))
    return RunRecord(**{name: getattr(row, name) for name in names})


def _last_id(history: History) -> int | None:
    return history.last.id if history.last else None
