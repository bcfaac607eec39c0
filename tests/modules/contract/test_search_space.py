import pytest
from pydantic import ValidationError

from modules.contract.hparams import TunerSettings
from modules.contract.search_space import check_search, check_search_space
from pipeline.sections.training import TunerSection


@pytest.mark.parametrize(
    "dimension",
    [
        {"learning_rate": {"min": 1e-5, "max": 1e-4, "sampling": "log"}},
        {"dropout": {"min": 0, "max": 0.5}},
        {"batch_size": {"values": [8, 16]}},
        {"epochs": {"min": 1, "max": 4, "step": 1}},
        {"class_weights": {"values": ["none", "balanced"]}},
        {"freeze_encoder": {"values": [True, False]}},
        {},
    ],
)
def test_valid_search_space_is_accepted(dimension: dict) -> None:
    check_search_space(dimension)
    assert TunerSection(search_space=dimension).search_space == dimension


@pytest.mark.parametrize(
    ("dimension", "problem"),
    [
        ({"learning_rte": {"values": [1e-5]}}, "did you mean 'learning_rate'"),
        ({"max_length": {"values": [64]}}, "unknown hyper-parameter 'max_length'"),
        ({"epochs": {}}, r"needs \{values"),
        ({"epochs": {"min": 1}}, r"needs \{values"),
        ({"epochs": {"min": 1, "max": 2, "stride": 1}}, r"needs \{values"),
        ({"epochs": {"values": []}}, "values"),
        ({"epochs": {"values": [1], "min": 1}}, "no other key"),
        ({"epochs": {"values": [1.5]}}, "of type int"),
        ({"epochs": {"values": [True]}}, "of type int"),
        ({"epochs": {"min": 1.5, "max": 2}}, "of type int"),
        ({"class_weights": {"min": 0, "max": 1}}, "of type str and needs"),
        ({"freeze_encoder": {"min": 0, "max": 1}}, "of type bool and needs"),
        ({"epochs": {"min": 2, "max": 2}}, "below its max"),
        ({"dropout": {"min": 0.0, "max": 0.5, "sampling": "log"}}, "above 0"),
        ({"dropout": {"min": 0.1, "max": 0.5, "sampling": "cubic"}}, "cubic"),
        ({"epochs": {"min": 1, "max": 3, "step": 0}}, "step must be above 0 on a linear scale"),
        ({"epochs": {"min": 1, "max": 8, "sampling": "log", "step": 1}}, "above 1 on a log"),
    ],
)
def test_invalid_search_space_is_rejected(dimension: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_search_space(dimension)


@pytest.mark.parametrize(
    ("space", "algorithm", "problem"),
    [
        ({}, "random", "is empty"),
        ({"epochs": {"values": []}}, "random", "values"),
        ({"dropout": {"min": 0.0, "max": 0.5}}, "grid", "a grid needs single values"),
        ({"epochs": {"values": [1, 2]}}, "hyperband", "Hyperband sets the epochs"),
        ({"epochs": {"values": [1, 9]}}, "random", "raise tuner.epochs to 9"),
        ({"epochs": {"min": 1, "max": 9}}, "bayesian", "raise tuner.epochs to 9"),
    ],
)
def test_search_space_that_does_not_suit_the_search_is_refused(
    space: dict, algorithm: str, problem: str
) -> None:
    settings = TunerSettings(algorithm=algorithm, search_space=space)
    with pytest.raises(ValueError, match=problem):
        check_search(settings)
    with pytest.raises(ValidationError, match=problem):
        TunerSection(enabled=True, algorithm=algorithm, search_space=space)


def test_disabled_tuner_may_have_an_unsuitable_search_space() -> None:
    TunerSection(enabled=False, algorithm="grid")


@pytest.mark.parametrize(
    ("dimension", "problem"),
    [
        ({"class_weights": {"values": ["heavy"]}}, 'class_weights must be "none" or'),
        ({"epochs": {"min": -1, "max": 2}}, "epochs must be a whole number from 0"),
        ({"dropout": {"values": [0.1, 1.5]}}, "received 1.5"),
    ],
)
def test_value_that_the_trainer_rejects_is_rejected(dimension: dict, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        TunerSection(search_space=dimension)
