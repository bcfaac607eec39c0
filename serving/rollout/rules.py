"""Decides whether a candidate is promoted, held or rolled back. Pure: figures in, verdict out."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from serving.rollout import intervals
from serving.rollout.figures import StageFigures
from serving.rollout.state import CANARY, LOADING, SHADOW, RolloutState, Stage

#: Rules are checked repeatedly, so a rollback before ``min_requests`` needs evidence that chance
#: alone gives in one of a thousand checks. With the default limit of 1 % that is more than 1
#: failure of 3 (bound 0.0003), less than 3 of 3 (0.1).
EARLY_CONFIDENCE = 0.999
#: Confidence level of the interval of the accuracy loss.
ACCURACY_CONFIDENCE = 0.95

#: The order of stages, configured or not.
_ORDER: tuple[Stage, ...] = (LOADING, SHADOW, CANARY)


class RolloutSettings(Protocol):
    """The settings that rules read, from the ``[rollout]`` section of the config."""

    @property
    def stages(self) -> Sequence[Stage]:
        """Stages before full traffic."""

    @property
    def canary_share(self) -> float:
        """Share of the traffic that a canary answers."""

    @property
    def min_requests(self) -> int:
        """Requests that the candidate must answer in each stage."""

    @property
    def max_stage_hours(self) -> float:
        """Hours after which an undecided stage is rolled back."""

    @property
    def max_error_rate(self) -> float:
        """Maximum share of failed requests."""

    @property
    def max_latency_ratio(self) -> float:
        """Maximum ratio of the median latency to the stable version's."""

    @property
    def max_disagreement(self) -> float:
        """Maximum share of labels that differ from the stable version's."""

    @property
    def max_accuracy_loss(self) -> float:
        """Maximum loss of accuracy on feedback."""


@dataclasses.dataclass(frozen=True)
class LimitCheck:
    """A candidate's value compared with a limit.

    Attributes:
        name: "errors", "latency", "disagreement" or "accuracy".
        value: the measured value; None while there is nothing to measure.
        limit: the configured limit.
        exceeded: whether the evidence suffices to roll back.
        holding: whether the value is within the limit, or not measured.
        sentence: the figures in words.
    """

    name: str
    value: float | None
    limit: float
    exceeded: bool
    holding: bool
    sentence: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict on a candidate.

    Attributes:
        action: what to do.
        reason: one sentence.
        next_stage: the stage to advance to; else None.
        details: the figures behind it, as JSON types.
    """

    action: Literal["wait", "advance", "promote", "rollback"]
    reason: str
    next_stage: Stage | None = None
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def judge(
    state: RolloutState, figures: StageFigures, settings: RolloutSettings, now: float
) -> Verdict:
    """Judge a candidate in the stage "shadow" or "canary".

    Args:
        state: a state with a candidate.
        figures: figures of the stage so far.
        settings: the limits.
        now: seconds since 1970.
    """
    checks = check(state, figures, settings)
    details = {"stage": state.stage, **dataclasses.asdict(figures)}
    for failed in checks:
        if failed.exceeded:
            return Verdict("rollback", f"in {state.stage}: {failed.sentence}", None, details)
    missing = settings.min_requests - figures.candidate.answered
    if missing <= 0 and all(each.holding for each in checks):
        within = f"{figures.candidate.answered} requests in {state.stage} within every limit"
        following = next_stage(state.stage, settings.stages)
        return Verdict("advance" if following else "promote", within, following, details)
    above = "; ".join(each.sentence for each in checks if not each.holding)
    if now - state.stage_started > settings.max_stage_hours * 3600:
        answered = f"{figures.candidate.answered} of {settings.min_requests}"
        why = f"{answered} needed requests answered" if missing > 0 else above
        expired = f"no decision after {settings.max_stage_hours:g} h in {state.stage}"
        return Verdict("rollback", f"{expired}: {why}", None, details)
    if missing > 0:
        return Verdict("wait", f"{missing} more answered requests are needed", None, details)
    return Verdict("wait", f"above a limit, but not significantly: {above}", None, details)


def next_stage(stage: Stage, stages: Sequence[Stage]) -> Stage | None:
    """Return the configured stage that follows; None when full traffic does."""
    later = _ORDER[_ORDER.index(stage) + 1 :]
    return next((each for each in later if each in stages), None)


def check(
    state: RolloutState, figures: StageFigures, settings: RolloutSettings
) -> tuple[LimitCheck, ...]:
    """Check the figures against every limit that applies to the stage."""
    checks = [_errors(figures, settings), _latency(figures, settings)]
    if state.stage == SHADOW:
        checks.append(_disagreement(figures, settings))
    return (*checks, _accuracy(figures, settings))


def _errors(figures: StageFigures, settings: RolloutSettings) -> LimitCheck:
    """Check the error rate, which must also be worse than the stable version's to roll back."""
    asked, stable = figures.candidate, figures.stable
    limit = settings.max_error_rate
    if not asked.requests:
        return LimitCheck("errors", None, limit, False, True, "no requests yet")
    rate = asked.failures / asked.requests
    stable_rate = stable.failures / stable.requests if stable.requests else 0.0
    enough = asked.requests >= settings.min_requests
    confidence = ACCURACY_CONFIDENCE if enough else EARLY_CONFIDENCE
    bound = intervals.lower_bound(asked.failures, asked.requests, confidence)
    exceeded = bound > stable_rate and (rate if enough else bound) > limit
    sentence = (
        f"{asked.failures} of {asked.requests} requests failed ({rate:.1%}, "
        f"limit {limit:.1%}; stable {stable.failures} of {stable.requests})"
    )
    return LimitCheck("errors", rate, limit, exceeded, rate <= limit, sentence)


def _latency(figures: StageFigures, settings: RolloutSettings) -> LimitCheck:
    """Check the median latency, from ``min_requests`` on: medians of few requests say little."""
    limit = settings.max_latency_ratio
    ours, theirs = figures.candidate.median_ms, figures.stable.median_ms
    if ours is None or not theirs:
        return LimitCheck("latency", None, limit, False, True, "no latency to compare yet")
    ratio = ours / theirs
    enough = figures.candidate.answered >= settings.min_requests
    sentence = (
        f"median latency {ours:.1f} ms is {ratio:.2f} times the stable version's {theirs:.1f} ms "
        f"(limit {limit:g})"
    )
    return LimitCheck("latency", ratio, limit, enough and ratio > limit, ratio <= limit, sentence)


def _disagreement(figures: StageFigures, settings: RolloutSettings) -> LimitCheck:
    limit = settings.max_disagreement
    if not figures.compared:
        return LimitCheck("disagreement", None, limit, False, True, "no answers to compare yet")
    share = figures.disagreements / figures.compared
    sentence = (
        f"{figures.disagreements} of {figures.compared} answers differ from the stable version's "
        f"({share:.1%}, limit {limit:.1%})"
    )
    loss = _loss_interval(figures)
    if loss and loss[1] < 0:  # a better version must differ where the stable one is wrong
        return LimitCheck("disagreement", share, limit, False, True, sentence)
    enough = figures.candidate.answered >= settings.min_requests
    sure = intervals.lower_bound(figures.disagreements, figures.compared, EARLY_CONFIDENCE) > limit
    exceeded = sure or (enough and share > limit)
    return LimitCheck("disagreement", share, limit, exceeded, share <= limit, sentence)


def _loss_interval(figures: StageFigures) -> tuple[float, float] | None:
    """Return the interval of the accuracy loss on feedback; None without feedback to compare."""
    ours, theirs = figures.candidate_feedback, figures.stable_feedback
    if not ours.total or not theirs.total:
        return None
    return intervals.difference(
        (theirs.correct, theirs.total), (ours.correct, ours.total), ACCURACY_CONFIDENCE
    )


def _accuracy(figures: StageFigures, settings: RolloutSettings) -> LimitCheck:
    """Check the accuracy loss, which is exceeded when its whole interval is above the limit."""
    limit = settings.max_accuracy_loss
    ours, theirs = figures.candidate_feedback, figures.stable_feedback
    interval = _loss_interval(figures)
    if interval is None:
        return LimitCheck("accuracy", None, limit, False, True, "no feedback to compare yet")
    loss = theirs.correct / theirs.total - ours.correct / ours.total
    low, high = interval
    sentence = (
        f"accuracy on feedback is {ours.correct} of {ours.total}, the stable version's "
        f"{theirs.correct} of {theirs.total}: a loss of {loss:.1%} "
        f"({low:.1%} to {high:.1%}, limit {limit:.1%})"
    )
    # Uncertainty is no reason to wait: feedback may stay rare.
    return LimitCheck("accuracy", loss, limit, low > limit, True, sentence)
