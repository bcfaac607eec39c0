"""The state of a model's rollout, and its row in the database."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import desc, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from serving.records.database import Database
from serving.records.tables import RolloutEventRow, RolloutRow

#: ``RolloutState.stage``. "loading": the server loads the candidate, which gets no traffic yet;
#: "shadow": it gets copies of the stable version's requests; "canary": it answers a share of the
#: traffic; "full": there is no candidate.
Stage = Literal["loading", "shadow", "canary", "full"]
LOADING: Stage = "loading"
SHADOW: Stage = "shadow"
CANARY: Stage = "canary"
FULL: Stage = "full"

#: ``RolloutEvent.action``.
Action = Literal["adopt", "start", "advance", "promote", "rollback"]


class ConflictError(Exception):
    """The rollout has changed since it was read; nothing was written."""


@dataclasses.dataclass(frozen=True)
class RolloutState:
    """The state of a rollout.

    Attributes:
        model: the model's name on the server.
        revision: incremented by each change.
        stable: the version that serves.
        previous: the former stable version, kept loaded for a rollback.
        candidate: the version on trial; None without one.
        stage: the candidate's stage; "full" without one.
        stage_started: when the stage began, in seconds since 1970.
        rejected: versions that were rolled back, ascending; never restarted automatically.
    """

    model: str
    revision: int
    stable: int | None
    previous: int | None = None
    candidate: int | None = None
    stage: Stage = FULL
    stage_started: float = 0.0
    rejected: tuple[int, ...] = ()

    @property
    def served(self) -> tuple[int, ...]:
        """The versions that the model server must load, ascending."""
        roles = (self.stable, self.previous, self.candidate)
        return tuple(sorted({version for version in roles if version is not None}))


@dataclasses.dataclass(frozen=True)
class Change:
    """A change from one state to the next, not written yet.

    Attributes:
        state: the new state; its revision is one more than that of the old one.
        action: the kind of change.
        version: the affected version.
        reason: one sentence.
        details: the figures behind it, as JSON types.
    """

    state: RolloutState
    action: Action
    version: int
    reason: str
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class RolloutStore:
    """Rollouts and their events in the database; threads may share it.

    Args:
        database: holds them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, model: str) -> RolloutState | None:
        """Return the state of a model's rollout; None before the first version was adopted.

        Raises:
            SQLAlchemyError: the database failed or is unavailable.
        """
        with self._database.read() as session:
            row = session.get(RolloutRow, model)
            return None if row is None else _state(row)

    def change(self, change: Change, *, now: float, by: str) -> RolloutEventRow:
        """Write a change and its event in one transaction.

        Args:
            change: based on the state that was read.
            now: seconds since 1970.
            by: "watch", or the user of the command.

        Returns:
            The event.

        Raises:
            ConflictError: the rollout has changed since; read it again.
            SQLAlchemyError: the database failed or is unavailable; nothing was written.
        """
        event = RolloutEventRow(
            model=change.state.model,
            created=now,
            action=change.action,
            version=change.version,
            reason=change.reason,
            by=by,
            details=dict(change.details),
        )
        try:
            with self._database.begin() as session:
                _write(session, change)
                session.add(event)
        except IntegrityError as error:  # two processes wrote the first row at once
            raise ConflictError(f"the rollout of {change.state.model} has begun") from error
        return event

    def events(self, model: str, limit: int = 20) -> list[RolloutEventRow]:
        """Return the latest events of a model, newest first."""
        query = (
            select(RolloutEventRow)
            .where(RolloutEventRow.model == model)
            .order_by(desc(RolloutEventRow.id))
            .limit(limit)
        )
        with self._database.read() as session:
            return list(session.scalars(query))

    def trial_started(self, state: RolloutState) -> float:
        """Return when the candidate's first stage began."""
        query = (
            select(RolloutEventRow.created)
            .where(
                RolloutEventRow.model == state.model,
                RolloutEventRow.action == "start",
                RolloutEventRow.version == state.candidate,
            )
            .order_by(desc(RolloutEventRow.id))
            .limit(1)
        )
        with self._database.read() as session:
            started = session.scalar(query)
        return state.stage_started if started is None else started

    def rejections(self, model: str) -> dict[int, str]:
        """Return why each rejected version was rolled back."""
        with self._database.read() as session:
            row = session.get(RolloutRow, model)
            return {} if row is None else {int(key): why for key, why in row.rejected.items()}


def _write(session: Session, change: Change) -> None:
    state = change.state
    row = session.get(RolloutRow, state.model)
    known = {} if row is None else row.rejected
    values = dataclasses.asdict(state)
    values["rejected"] = {
        str(version): known.get(str(version), change.reason) for version in state.rejected
    }
    if state.revision == 1:
        session.add(RolloutRow(**values))
        return
    guarded = update(RolloutRow).where(
        RolloutRow.model == state.model, RolloutRow.revision == state.revision - 1
    )
    result = session.execute(guarded.values(**values).execution_options(synchronize_session=False))
    if result.rowcount != 1:  # type: ignore[attr-defined]
        raise ConflictError(f"revision {state.revision} of the rollout of {state.model} exists")


def _state(row: RolloutRow) -> RolloutState:
    return RolloutState(**row.columns() | {"rejected": tuple(sorted(map(int, row.rejected)))})
