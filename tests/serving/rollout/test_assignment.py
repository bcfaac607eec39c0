import pytest

from serving.rollout.assignment import Assignment, assign
from serving.rollout.state import CANARY, FULL, LOADING, SHADOW, RolloutState

KEYS = [f"key-{number}" for number in range(5000)]


def state(stage, candidate=2) -> RolloutState:
    return RolloutState("default", 1, 1, candidate=candidate, stage=stage)


@pytest.mark.parametrize("nothing", [None, RolloutState("default", 1, None)])
def test_newest_version_on_the_server_answers_without_a_rollout(nothing) -> None:
    assert assign(nothing, "key", 0.5) == Assignment(None, "stable", None)


def test_each_stage_assigns_its_versions() -> None:
    assert assign(state(FULL, None), "key", 0.99) == Assignment(1)
    assert assign(state(LOADING), "key", 0.99) == Assignment(1)
    assert assign(state(SHADOW), "key", 0.99) == Assignment(1, "stable", shadow=2)
    assert {assign(state(CANARY), key, 0.5) for key in KEYS} == {
        Assignment(1),
        Assignment(2, "canary"),
    }


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_canary_share_holds_and_callers_keep_their_version(share) -> None:
    canaries = [key for key in KEYS if assign(state(CANARY), key, share).role == "canary"]
    deviation = (len(KEYS) * share * (1 - share)) ** 0.5
    assert abs(len(canaries) - len(KEYS) * share) < 4 * deviation
    assert canaries == [key for key in KEYS if assign(state(CANARY), key, share).role == "canary"]


def test_larger_share_keeps_the_canarys_callers() -> None:
    for key in KEYS[:500]:
        if assign(state(CANARY), key, 0.1).role == "canary":
            assert assign(state(CANARY), key, 0.3).role == "canary"


def test_another_candidate_draws_other_callers() -> None:
    def canaries(candidate):
        return {k for k in KEYS if assign(state(CANARY, candidate), k, 0.1).role == "canary"}

    both = canaries(2) & canaries(3)
    assert len(both) < len(KEYS) * 0.03


@pytest.mark.parametrize("key", ["", "\ud800", "é" * 1000])
def test_any_text_is_a_valid_sticky_key(key) -> None:
    assert assign(state(CANARY), key, 0.5).version in (1, 2)
