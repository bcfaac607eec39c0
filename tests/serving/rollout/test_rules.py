import dataclasses

import pytest

from serving.rollout.figures import Outcomes, StageFigures, Traffic
from serving.rollout.rules import judge, next_stage
from serving.rollout.state import CANARY, LOADING, SHADOW, RolloutState
from tests.serving.rollout.traffic import Settings

SETTINGS = Settings(min_requests=200)
GOOD = StageFigures(
    candidate=Traffic(200, 0, 12.0), stable=Traffic(2000, 0, 10.0), compared=200, disagreements=20
)


def action(stage=CANARY, now=3600.0, settings=SETTINGS, **changes) -> str:
    state = RolloutState("default", 3, 1, candidate=2, stage=stage, stage_started=0.0)
    return judge(state, dataclasses.replace(GOOD, **changes), settings, now).action


def test_candidate_within_every_limit_advances() -> None:
    assert action(SHADOW) == "advance"
    assert action(CANARY) == "promote"
    assert action(SHADOW, settings=Settings(stages=("shadow",), min_requests=200)) == "promote"


def test_candidate_without_traffic_is_never_promoted() -> None:
    nothing = {"candidate": Traffic(), "stable": Traffic(), "compared": 0, "disagreements": 0}
    for stage in (SHADOW, CANARY):
        assert action(stage, **nothing) == "wait"
        assert action(stage, now=24 * 3600.0, **nothing) == "wait"
        assert action(stage, now=24 * 3600.0 + 1, **nothing) == "rollback"
    assert action(candidate=Traffic(199, 0, 10.0)) == "wait"


def test_failures_do_not_count_as_answers() -> None:
    settings = Settings(min_requests=200, max_error_rate=0.5)
    assert action(candidate=Traffic(200, 1, 10.0), settings=settings) == "wait"
    assert action(candidate=Traffic(201, 1, 10.0), settings=settings) == "promote"


@pytest.mark.parametrize(
    ("requests", "failures", "expected"),
    [(1, 1, "wait"), (3, 1, "wait"), (3, 3, "rollback"), (60, 1, "wait"), (60, 10, "rollback"),
     (300, 3, "promote"), (300, 4, "rollback"), (5000, 50, "promote"), (5000, 90, "rollback")],
)  # fmt: skip
def test_error_rate_is_judged_with_its_uncertainty(requests, failures, expected) -> None:
    assert action(candidate=Traffic(requests, failures, 10.0)) == expected


def test_failures_shared_with_the_stable_version_do_not_count() -> None:
    outage = {"candidate": Traffic(300, 30, 10.0), "stable": Traffic(3000, 300, 10.0)}
    assert action(**outage) == "wait"
    assert action(**{**outage, "candidate": Traffic(300, 60, 10.0)}) == "rollback"


def test_latency_is_judged_from_min_requests_on() -> None:
    assert action(candidate=Traffic(200, 0, 20.0)) == "promote"
    assert action(candidate=Traffic(200, 0, 20.1)) == "rollback"
    assert action(candidate=Traffic(3, 0, 90.0)) == "wait"
    assert action(candidate=Traffic(200, 0, 90.0), stable=Traffic()) == "promote"


def test_disagreement_counts_in_shadow() -> None:
    assert action(SHADOW, disagreements=60) == "advance"
    assert action(SHADOW, disagreements=61) == "rollback"
    assert action(CANARY, disagreements=200) == "promote"
    few = {"candidate": Traffic(20, 0, 10.0), "compared": 20}
    assert action(SHADOW, **few, disagreements=8) == "wait"
    assert action(SHADOW, **few, disagreements=20) == "rollback"


def test_significantly_better_version_may_disagree() -> None:
    def with_feedback(ours, theirs):
        return action(
            SHADOW, disagreements=120, candidate_feedback=Outcomes(*ours),
            stable_feedback=Outcomes(*theirs),
        )  # fmt: skip

    assert with_feedback((90, 100), (60, 100)) == "advance"
    assert with_feedback((64, 100), (60, 100)) == "rollback"
    assert with_feedback((0, 0), (60, 100)) == "rollback"


def test_accuracy_rolls_back_only_a_significant_loss() -> None:
    def with_feedback(ours, theirs):
        return action(
            candidate_feedback=Outcomes(*ours), stable_feedback=Outcomes(*theirs),
            candidate=Traffic(150, 0, 10.0),
        )  # fmt: skip

    assert with_feedback((0, 1), (1, 1)) == "wait"
    assert with_feedback((85, 100), (90, 100)) == "wait"
    assert with_feedback((60, 100), (90, 100)) == "rollback"
    assert with_feedback((90, 100), (60, 100)) == "wait"


def test_reason_contains_the_figures() -> None:
    state = RolloutState("default", 3, 1, candidate=2, stage=CANARY, stage_started=0.0)
    bad = dataclasses.replace(GOOD, candidate=Traffic(300, 60, 10.0))
    verdict = judge(state, bad, SETTINGS, 10.0)
    assert verdict.reason == (
        "in canary: 60 of 300 requests failed (20.0%, limit 1.0%; stable 0 of 2000)"
    )
    assert verdict.details["candidate"] == {"requests": 300, "failures": 60, "median_ms": 10.0}


def test_next_stage_is_the_next_configured_one() -> None:
    assert next_stage(LOADING, ("shadow", "canary")) == SHADOW
    assert next_stage(LOADING, ("canary",)) == CANARY
    assert next_stage(LOADING, ()) is None
    assert next_stage(SHADOW, ("canary",)) == CANARY
    assert next_stage(CANARY, ("shadow", "canary")) is None
