import dataclasses

import pytest

from serving.rollout import transitions
from serving.rollout.state import CANARY, FULL, LOADING, RolloutState
from serving.rollout.transitions import NotPossibleError

NOW = 1000.0
SERVING = RolloutState("default", 3, stable=7, previous=6, rejected=(5,))
ON_TRIAL = dataclasses.replace(SERVING, candidate=8, stage=CANARY)


def test_failed_version_without_predecessor_is_replaced_and_rejected() -> None:
    alone = dataclasses.replace(SERVING, previous=None)
    state = transitions.replace_failed(alone, 8, NOW, "it does not load").state
    assert (state.stable, state.previous, state.rejected) == (8, None, (5, 7))
    assert (state.stage, state.revision) == (FULL, alone.revision + 1)


@pytest.mark.parametrize(
    ("state", "version"),
    [
        (SERVING, 8),
        (RolloutState("default", 1, stable=None), 8),
        (dataclasses.replace(SERVING, previous=None), 7),
        (dataclasses.replace(SERVING, previous=None), 5),
    ],
    ids=["a predecessor", "no stable version", "the failed version itself", "a rejected version"],
)
def test_invalid_replacements_of_a_failed_version_are_refused(
    state: RolloutState, version: int
) -> None:
    with pytest.raises(NotPossibleError):
        transitions.replace_failed(state, version, NOW, "")


@pytest.mark.parametrize("version", [7, 8, 5])
def test_version_that_serves_or_was_rejected_is_not_started(version: int) -> None:
    with pytest.raises(NotPossibleError, match=f"version {version} "):
        transitions.start(ON_TRIAL, version, NOW, "")


def test_rejected_version_is_started_again_on_request() -> None:
    state = transitions.start(SERVING, 5, NOW, "", again=True).state
    assert (state.candidate, state.stage, state.rejected) == (5, LOADING, ())


def test_previous_version_on_trial_is_no_longer_previous() -> None:
    assert transitions.start(SERVING, 6, NOW, "").state.previous is None


def test_nothing_advances_without_a_candidate() -> None:
    with pytest.raises(NotPossibleError):
        transitions.advance(SERVING, CANARY, NOW, "")


def test_stable_version_is_not_promoted() -> None:
    with pytest.raises(NotPossibleError):
        transitions.promote(ON_TRIAL, 7, NOW, "")


def test_roll_back_without_candidate_returns_to_the_previous_version() -> None:
    state = transitions.roll_back(SERVING, NOW, "").state
    assert (state.stable, state.previous, state.rejected) == (6, None, (5, 7))
    with pytest.raises(NotPossibleError):
        transitions.roll_back(state, NOW, "")


@pytest.mark.parametrize(
    ("version", "role"),
    [(7, "stable"), (6, "previous"), (8, "candidate"), (5, "rejected"), (4, "")],
)
def test_role_of_a_version(version: int, role: str) -> None:
    assert transitions.role(ON_TRIAL, version) == role
