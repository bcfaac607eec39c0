"""What has been seen of a candidate and of the stable version, read by SQL.

A call is what the gateway sent to the model server at once: one request, or one part of a stream.
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
    """Calls of one version.

    Attributes:
        requests: how many.
        failures: of them without an answer.
        median_ms: latency of those with one; None without any.
    """

    requests: int = 0
    failures: int = 0
    median_ms: float | None = None

    @property
    def answered(self) -> int:
        """Calls with an answer."""
        return self.requests - self.failures


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What feedback says of one version's answers.

    Attributes:
        correct: answers with the true label.
        total: answers with a vote.
    """

    correct: int = 0
    total: int = 0


@dataclasses.dataclass(frozen=True)
class StageFigures:
    """Figures of a stage.

    Attributes:
        candidate: its traffic since the stage began; in shadow, the mirrored one.
        stable: that of the stable version: in shadow the calls that were mirrored, else its own.
        compared: texts that both answered; in shadow only.
        disagreements: of them with other labels.
        candidate_feedback: since the trial began, mirrored answers too.
        stable_feedback: likewise.
    """

    candidate: Traffic = Traffic()
    stable: Traffic = Traffic()
    compared: int = 0
    disagreements: int = 0
    candidate_feedback: Outcomes = Outcomes()
    stable_feedback: Outcomes = Outcomes()

    def as_json(self) -> dict[str, Any]:
        """As JSON types."""
        return dataclasses.asdict(self)


def read_figures(database: Database, state: RolloutState, trial_started: float) -> StageFigures:
    """Read the figures of a candidate's stage.

    Args:
        database: where predictions and feedback are.
        state: with a candidate.
        trial_started: when its first stage began, seconds since 1970.

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
    """Failed and latency of each call that a version was given in its role."""
    query = select(
        _failed(PredictionRow.status), func.max(PredictionRow.latency_ms).label("latency")
    )
    return (
        query.where(
            PredictionRow.role == role,
            PredictionRow.created >= state.stage_started,
            or_(PredictionRow.model_version == version, PredictionRow.model_version.is_(None)),
        )
        .group_by(PredictionRow.request_id, PredictionRow.created)
        .subquery()
    )


def _mirrored_calls(state: RolloutState) -> tuple[Subquery, Subquery]:
    """The same calls as the candidate took them, and as the stable version did."""
    mirrored = _mirrored(
        select(
            _failed(ShadowPredictionRow.status),
            func.max(ShadowPredictionRow.latency_ms).label("latency"),
        ),
        state,
    )
    answered = _mirrored(
        select(_failed(PredictionRow.status), func.max(PredictionRow.latency_ms).label("latency")),
        state,
    )
    grouping = PredictionRow.request_id, PredictionRow.created
    return mirrored.group_by(*grouping).subquery(), answered.group_by(*grouping).subquery()


def _mirrored(query: Any, state: RolloutState) -> Any:
    return (
        query.select_from(ShadowPredictionRow)
        .join(PredictionRow, PredictionRow.id == ShadowPredictionRow.prediction_id)
        .where(
            ShadowPredictionRow.model_version == state.candidate,
            ShadowPredictionRow.created >= state.stage_started,
        )
    )


def _failed(status: Any) -> ColumnElement[int]:
    return func.max(case((status == OK, 0), else_=1)).label("failed")


def _traffic(session: Session, calls: Subquery) -> Traffic:
    counted = session.execute(select(func.count(), func.coalesce(func.sum(calls.c.failed), 0)))
    requests, failures = counted.one()
    return Traffic(requests, int(failures), _median(session, calls, requests - int(failures)))


def _median(session: Session, calls: Subquery, answered: int) -> float | None:
    """By position, which both databases can; the mean of the middle two of an even number."""
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
    """Texts that both versions answered, and how often they differ."""
    differs = case((ShadowPredictionRow.label == PredictionRow.label, 0), else_=1)
    query = _mirrored(select(func.count(), func.coalesce(func.sum(differs), 0)), state).where(
        ShadowPredictionRow.status == OK, PredictionRow.status == OK
    )
    compared, disagreements = session.execute(query).one()
    return compared, int(disagreements)


def _feedback(session: Session, state: RolloutState, since: float) -> tuple[Outcomes, Outcomes]:
    """Outcomes of the candidate and of the stable version on what was asked since.

    A text counts once for a version, however often it was asked.
    """
    answers = select(PredictionRow.text_identity, PredictionRow.label).where(
        PredictionRow.created >= since, PredictionRow.status == OK
    )
    mirrored = (
        select(PredictionRow.text_identity, ShadowPredictionRow.label)
        .select_from(ShadowPredictionRow)
        .join(PredictionRow, PredictionRow.id == ShadowPredictionRow.prediction_id)
        .where(
            ShadowPredictionRow.model_version == state.candidate,
            ShadowPredictionRow.created >= since,
            ShadowPredictionRow.status == OK,
        )
    )
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
    """Label by text: a review's, else that of votes which agree. New classes tell nothing."""
    reviewed = select(ReviewRow.text_identity, ReviewRow.label)
    voted = (
        select(FeedbackRow.text_identity, func.min(FeedbackRow.label).label("label"))
        .where(FeedbackRow.known, FeedbackRow.text_identity.not_in(select(ReviewRow.text_identity)))
        .group_by(FeedbackRow.text_identity)
        .having(func.min(FeedbackRow.label) == func.max(FeedbackRow.label))
    )
    return union_all(reviewed.where(ReviewRow.label.is_not(None)), voted).subquery()
