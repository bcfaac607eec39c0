"""Comparison of two models and a test split with different labels."""

import numpy as np

from components.evaluation import analysis
from components.evaluation.comparison import Comparable
from components.evaluation.predictions import ModelPredictions, TestSplit
from components.evaluation.report import describe
from tests.components.evaluation.test_decision import metrics, settings

SPLIT = TestSplit(
    [b""] * 4, ["a", "b", "c", "d"], ["neg", "pos", "neg", "odd"], {"domain": ["films"] * 4}
)


def predictions(*labels: str, problems: tuple[str, ...] = ()) -> ModelPredictions:
    scores = np.full((len(SPLIT), len(labels)), 1 / len(labels), np.float32)
    return ModelPredictions(labels, scores, problems)


def decide(candidate: ModelPredictions, baseline: ModelPredictions | None = None):
    both = {analysis.CANDIDATE: candidate}
    if baseline:
        both[analysis.BASELINE] = baseline
    comparable = Comparable(settings(), SPLIT, both)
    return comparable, comparable.decide({name: {"": metrics(0.5, 4)} for name in both})


def test_labels_unknown_to_a_model_count_as_wrong_and_are_noted() -> None:
    comparable, decision = decide(
        predictions("neg", "pos"), predictions("neg", problems=("it is old",))
    )
    assert comparable.labels == ["neg", "pos", "odd"]
    notes = " ".join(decision.notes)
    assert "the candidate does not know the labels 'odd': the 1 test" in notes
    assert "the baseline does not know the labels 'odd', 'pos': the 2 test" in notes
    assert "for the baseline, it is old" in notes


def test_model_that_shares_no_label_with_the_test_split_is_rejected() -> None:
    _, decision = decide(predictions("yes", "no"))
    assert not decision.blessed
    assert any("none of its labels" in reason for reason in decision.reasons)
    assert describe(decision).startswith("# Rejected\n")
