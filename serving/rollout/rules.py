"""What is to become of a candidate. Pure: figures in, verdict out."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from serving.rollout import intervals
from serving.rollout.figures import StageFigures
from serving.rollout.state import CANARY, LOADING, SHADOW, RolloutState, Stage

#: A rule is looked at again and again, so what is rolled back before ``min_requests`` takes
#: evidence that chance alone gives once in a thousand looks. With the shipped limit of 1 % that
#: is more than 1 failure of 3 (bound 0.0003), less than 3 of 3 (0.1).
EARLY_CONFIDENCE = 0.999
#: Of the interval around the loss of accuracy.
ACCURACY_CONFIDENCE = 0.95

#: The order of stages, whichever of them are configured.
_ORDER: tuple[Stage, ...] = (LOADING, SHADOW, CANARY)


class RolloutSettings(Protocol):
    """The settings that rules read: the config's section ``[rollout]``."""

    @property
    def stages(self) -> Sequence[Stage]:
        """What comes before full traffic."""

    @property
    def canary_share(self) -> float:
        """Share of the traffic that a canary answers."""

    @property
    def min_requests(self) -> int:
        """Requests that the candidate must have answered in each stage."""

    @property
    def max_stage_hours(self) -> float:
        """After so long, a stage that has not decided is rolled back."""

    @property
    def max_error_rate(self) -> float:
        """Share of failed requests."""

    @property
    def max_latency_ratio(self) -> float:
        """Median latency over the stable version's."""

    @property
    def max_disagreement(self) -> float:
        """Share of other labels than the stable version's."""

    @property
    def max_accuracy_loss(self) -> float:
        """Loss of accuracy on feedback."""


@dataclasses.dataclass(frozen=True)
class LimitCheck:
    """One limit, and how the candidate stands against it.

    Attributes:
        name: "errors", "latency", "disagreement" or "accuracy".
        value: what was measured; None while there is nothing to measure.
        limit: what the config allows.
        exceeded: surely enough to roll back.
        holding: not above the limit, or not measured.
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
    """What is to be done.

    Attributes:
        action: what.
        reason: one sentence.
        next_stage: with "advance", where to.
        details: the figures behind it, as JSON types.
    """

    action: Literal["wait", "advance", "promote", "rollback"]
    reason: str
    next_stage: Stage | None = None
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def judge(
    state: RolloutState, figures: StageFigures, settings: RolloutSettings, now: float
) -> Verdict:
    """Decide about a candidate in the stage "shadow" or "canary".

    Args:
        state: with a candidate.
        figures: of the stage so far.
        settings: limits.
        now: seconds since 1970.
    """
    checks = check(state, figures, settings)
    details = {"stage": state.stage, **figures.as_json()}
    for failed in checks:
        if failed.exceeded:
            return Verdict("rollback", f"in {state.stage}: {failed.sentence}", None, details)
    missing = settings.min_requests - figures.candidate.answered
    if missing <= 0 and all(each.holding for each in checks):
        return _go_on(state, figures, settings, details)
    if now - state.stage_started > settings.max_stage_hours * 3600:
        why = f"it answered {figures.candidate.answered} of {settings.min_requests} requests"
        if missing <= 0:
            why = "; ".join(each.sentence for each in checks if not each.holding)
        hours = f"{settings.max_stage_hours:g} h in {state.stage} decided nothing"
        return Verdict("rollback", f"{hours}: {why}", None, details)
    if missing > 0:
        return Verdict("wait", f"{missing} more answered requests are needed", None, details)
    waiting = "; ".join(each.sentence for each in checks if not each.holding)
    return Verdict("wait", f"above a limit, but not surely: {waiting}", None, details)


def next_stage(stage: Stage, stages: Sequence[Stage]) -> Stage | None:
    """The configured stage that follows; None when full traffic does."""
    later = _ORDER[_ORDER.index(stage) + 1 :]
    return next((each for each in later if each in stages), None)


def check(
    state: RolloutState, figures: StageFigures, settings: RolloutSettings
) -> tuple[LimitCheck, ...]:
    """Hold the figures against every limit that the stage can tell of."""
    checks = [_errors(figures, settings), _latency(figures, settings)]
    if state.stage == SHADOW:
        checks.append(_disagreement(figures, settings))
    return (*checks, _accuracy(figures, settings))


def _go_on(
    state: RolloutState,
    figures: StageFigures,
    settings: RolloutSettings,
    details: Mapping[str, Any],
) -> Verdict:
    answered = f"{figures.candidate.answered} requests in {state.stage} within every limit"
    following = next_stage(state.stage, settings.stages)
    action: Literal["advance", "promote"] = "advance" if following else "promote"
    return Verdict(action, answered, following, details)


def _errors(figures: StageFigures, settings: RolloutSettings) -> LimitCheck:
    """Above the limit, and worse than the stable version: its failures are not the candidate's."""
    asked, stable = figures.candidate, figures.stable
    limit = settings.max_error_rate
    if not asked.requests:
        return LimitCheck("errors", None, limit, False, True, "no request yet")
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
    """Medians of few requests say little, so it decides from ``min_requests`` on."""
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
        return LimitCheck("disagreement", None, limit, False, True, "no answer to compare yet")
    share = figures.disagreements / figures.compared
    sentence = (
        f"{figures.disagreements} of {figures.compared} answers differ from the stable version's "
        f"({share:.1%}, limit {limit:.1%})"
    )
    loss = _loss_interval(figures)
    if loss and loss[1] < 0:  # surely better: where the stable version is wrong, it must differ
        return LimitCheck("disagreement", share, limit, False, True, sentence)
    enough = figures.candidate.answered >= settings.min_requests
    sure = intervals.lower_bound(figures.disagreements, figures.compared, EARLY_CONFIDENCE) > limit
    exceeded = sure or (enough and share > limit)
    return LimitCheck("disagreement", share, limit, exceeded, share <= limit, sentence)


def _loss_interval(figures: StageFigures) -> tuple[float, float] | None:
    """Of the candidate's loss of accuracy on feedback; None while there is none to compare."""
    ours, theirs = figures.candidate_feedback, figures.stable_feedback
    if not ours.total or not theirs.total:
        return None
    return intervals.difference(
        (theirs.correct, theirs.total), (ours.correct, ours.total), ACCURACY_CONFIDENCE
    )


def _accuracy(figures: StageFigures, settings: RolloutSettings) -> LimitCheck:
    """The whole interval of the loss above the limit. No feedback holds nothing up."""
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
    # Not surely worse is no reason to wait: feedback may be rare for ever.
    return LimitCheck("accuracy", loss, limit, low > limit, True, sentence)
