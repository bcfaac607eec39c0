"""Figures of a candidate and the stable version, read by SQL.

A call is what the gateway sends to the model server at once: one request, or one part of a stream.
Its texts fail together, so calls are counted, not texts.
"""

import dataclasses
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Subquery,
    case,
    func,
    or_,
    select,
    union,
    union_all,
)
from sqlalchemy.orm import Session

from serving.records.database import Database
from serving.records.tables import (
    CANARY,
    OK,
    STABLE,
    FeedbackRow,
    PredictionRow,
    ReviewRow,
    ShadowPredictionRow,
)
from serving.rollout.state import SHADOW, RolloutState


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Calls to one version.

    Attributes:
        requests: number of calls.
        failures: calls without an answer.
        median_ms: median latency of answered calls; None without any.
    """

    requests: int = 0
    failures: int = 0
    median_ms: float | None = None

    @property
    def answered(self) -> int:
        """Number of answered calls."""
        return self.requests - self.failures


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """Feedback on one version's predictions.

    Attributes:
        correct: predictions with the true label.
        total: predictions whose true label is known.
    """

    correct: int = 0
    total: int = 0


@dataclasses.dataclass(frozen=True)
class StageFigures:
    """Figures of a stage.

    Attributes:
        candidate: the candidate's calls since the stage began; in shadow, the mirrored ones.
        stable: the stable version's calls; in shadow, those that were mirrored.
        compared: texts that both versions answered; in shadow only.
        disagreements: texts with different labels.
        candidate_feedback: feedback since the trial began, also on mirrored predictions.
        stable_feedback: likewise, for the stable version.
    """

    candidate: Traffic = Traffic()
    stable: Traffic = Traffic()
    compared: int = 0
    disagreements: int = 0
    candidate_feedback: Outcomes = Outcomes()
    stable_feedback: Outcomes = Outcomes()


def read_figures(database: Database, state: RolloutState, trial_started: float) -> StageFigures:
    """Read the figures of a candidate's stage.

    Args:
        database: holds predictions and feedback.
        state: a state with a candidate.
        trial_started: start of the candidate's first stage, in seconds since 1970.

    Raises:
        SQLAlchemyError: the database failed or is unavailable.
    """
    with database.read() as session:
        if state.stage == SHADOW:
            candidate, stable = _mirrored_calls(state)
            compared, disagreements = _compare(session, state)
        else:
            candidate = _calls(state, CANARY, state.candidate)
            stable = _calls(state, STABLE, state.stable)
            compared, disagreements = 0, 0
        ours, theirs = _feedback(session, state, trial_started)
        return StageFigures(
            candidate=_traffic(session, candidate),
            stable=_traffic(session, stable),
            compared=compared,
            disagreements=disagreements,
            candidate_feedback=ours,
            stable_feedback=theirs,
        )


def _calls(state: RolloutState, role: str, version: int | None) -> Subquery:
    """Select failure and latency of each call to a version in a role."""
    return (
        select(*_outcome_of_call(PredictionRow))
        .where(
            PredictionRow.role == role,
            PredictionRow.created >= state.stage_started,
            or_(PredictionRow.model_version == version, PredictionRow.model_version.is_(None)),
        )
        .group_by(PredictionRow.request_id, PredictionRow.created)
        .subquery()
    )


def _mirrored_calls(state: RolloutState) -> tuple[Subquery, Subquery]:
    """Select the mirrored calls of the candidate, and the calls that they repeat."""
    mirrored, answered = (
        _mirrored(select(*_outcome_of_call(row)), state, state.stage_started)
        .group_by(PredictionRow.request_id, PredictionRow.created)
        .subquery()
        for row in (ShadowPredictionRow, PredictionRow)
    )
    return mirrored, answered


def _mirrored(query: Any, state: RolloutState, since: float) -> Any:
    """Join mirrored predictions to the predictions that they repeat."""
    return (
        query.select_from(ShadowPredictionRow)
        .join(PredictionRow, PredictionRow.id == ShadowPredictionRow.prediction_id)
        .where(
            ShadowPredictionRow.model_version == state.candidate,
            ShadowPredictionRow.created >= since,
        )
    )


def _outcome_of_call(
    row: type[PredictionRow | ShadowPredictionRow],
) -> tuple[ColumnElement[int], ColumnElement[float]]:
    """Return the columns "failed" and "latency" of a group of rows."""
    failed = func.max(case((row.status == OK, 0), else_=1))
    return failed.label("failed"), func.max(row.latency_ms).label("latency")


def _traffic(session: Session, calls: Subquery) -> Traffic:
    counted = session.execute(select(func.count(), func.coalesce(func.sum(calls.c.failed), 0)))
    requests, failures = counted.one()
    return Traffic(requests, int(failures), _median(session, calls, requests - int(failures)))


def _median(session: Session, calls: Subquery, answered: int) -> float | None:
    """Return the median by position, which both databases support."""
    if not answered:
        return None
    middle = (
        select(calls.c.latency)
        .where(calls.c.failed == 0)
        .order_by(calls.c.latency)
        .offset((answered - 1) // 2)
        .limit(2 - answered % 2)
    )
    values = list(session.scalars(middle))
    return sum(values) / len(values) if values else None


def _compare(session: Session, state: RolloutState) -> tuple[int, int]:
    """Count the texts that both versions answered, and those with different labels."""
    differs = case((ShadowPredictionRow.label == PredictionRow.label, 0), else_=1)
    counts = select(func.count(), func.coalesce(func.sum(differs), 0))
    query = _mirrored(counts, state, state.stage_started).where(
        ShadowPredictionRow.status == OK, PredictionRow.status == OK
    )
    compared, disagreements = session.execute(query).one()
    return compared, int(disagreements)


def _feedback(session: Session, state: RolloutState, since: float) -> tuple[Outcomes, Outcomes]:
    """Return the outcomes of the candidate and of the stable version on requests since then.

    A text counts once per version, however often it was requested.
    """
    answers = select(PredictionRow.text_identity, PredictionRow.label).where(
        PredictionRow.created >= since, PredictionRow.status == OK
    )
    pairs = select(PredictionRow.text_identity, ShadowPredictionRow.label)
    mirrored = _mirrored(pairs, state, since).where(ShadowPredictionRow.status == OK)
    ours = union(answers.where(PredictionRow.model_version == state.candidate), mirrored)
    theirs = answers.where(PredictionRow.model_version == state.stable).distinct()
    return _outcomes(session, ours), _outcomes(session, theirs)


def _outcomes(session: Session, answers: Any) -> Outcomes:
    given, truth = answers.subquery(), _truth()
    right = case((given.c.label == truth.c.label, 1), else_=0)
    query = (
        select(func.count(), func.coalesce(func.sum(right), 0))
        .select_from(given)
        .join(truth, truth.c.text_identity == given.c.text_identity)
    )
    total, correct = session.execute(query).one()
    return Outcomes(int(correct), total)


def _truth() -> Subquery:
    """Select the label of each text: the review's, else that of agreeing votes on known labels."""
    reviewed = select(ReviewRow.text_identity, ReviewRow.label)
    voted = (
        select(FeedbackRow.text_identity, func.min(FeedbackRow.label).label("label"))
        .where(FeedbackRow.known, FeedbackRow.text_identity.not_in(select(ReviewRow.text_identity)))
        .group_by(FeedbackRow.text_identity)
        .having(func.min(FeedbackRow.label) == func.max(FeedbackRow.label))
    )
    return union_all(reviewed.where(ReviewRow.label.is_not(None)), voted).subquery()
