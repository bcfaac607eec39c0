"""The decision rule, and the words of each rejection."""

import json
from typing import Any

import pytest

from components.evaluation.bootstrap import Comparison, Interval
from components.evaluation.decision import Decision, decide
from components.evaluation.report import describe, sentences
from components.evaluation.settings import CLASS_METRICS, SLICE_METRICS, EvaluatorSettings
from components.evaluation.slices import SliceMetrics
from modules.contract.errors import UserError


def settings(**values: Any) -> EvaluatorSettings:
    base: dict[str, Any] = {"length_slices": [16, 64], "floors": [], "slice_columns": ["domain"]}
    return EvaluatorSettings.create(**{**base, **values})


def metrics(value: float | None, examples: int = 100, **classes: float) -> SliceMetrics:
    """Return metrics that all equal ``value``; keywords set a label's one-vs-rest metrics."""
    return SliceMetrics(
        examples=examples,
        values=dict.fromkeys(SLICE_METRICS, value),
        classes={label: dict.fromkeys(CLASS_METRICS, each) for label, each in classes.items()},
    )


def judge(
    candidate: float | None,
    baseline: float | None = None,
    *,
    slices: dict[str, SliceMetrics] | None = None,
    interval: tuple[float, float] = (-0.02, 0.08),
    problems: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    **values: Any,
) -> Decision:
    known = baseline is not None
    return decide(
        settings(**values),
        candidate={"": metrics(candidate), **(slices or {})},
        baseline={"": metrics(baseline)} if known else None,
        comparison=Comparison(
            candidate=Interval(0.6, 0.8),
            baseline=Interval(0.6, 0.8) if known else None,
            difference=Interval(*interval) if known else None,
            better_share=0.9 if known else None,
        ),
        chance=0.5,
        problems=problems,
        notes=notes,
    )


class TestBaseline:
    def test_improvement_is_blessed(self) -> None:
        decision = judge(0.75, 0.70)
        assert decision.blessed
        assert decision.difference == pytest.approx(0.05)
        assert decision.reasons == ()

    @pytest.mark.parametrize("candidate", [0.70, 0.69])
    def test_no_improvement_is_rejected(self, candidate: float) -> None:
        decision = judge(candidate, 0.70)
        assert not decision.blessed
        assert "not more than the margin of +0" in decision.reasons[0]

    def test_gain_must_be_greater_than_the_margin(self) -> None:
        # 0.9 - 0.8 is a little more than 0.1 in floating point.
        assert not judge(0.9, 0.8, margin=0.1).blessed
        assert judge(0.9001, 0.8, margin=0.1).blessed

    def test_negative_margin_allows_a_small_loss(self) -> None:
        assert judge(0.70, 0.71, margin=-0.02).blessed
        assert not judge(0.69, 0.71, margin=-0.02).blessed

    def test_significance_requires_the_whole_interval(self) -> None:
        assert judge(0.75, 0.70, require_significance=True, interval=(0.01, 0.09)).blessed
        decision = judge(0.75, 0.70, require_significance=True, interval=(-0.01, 0.09))
        assert not decision.blessed
        assert "95% interval of the difference starts at -0.0100" in decision.reasons[0]

    def test_interval_does_not_decide_unless_significance_is_required(self) -> None:
        assert judge(0.75, 0.70, interval=(-0.2, 0.2)).blessed

    def test_undefined_metric_is_rejected(self) -> None:
        assert not judge(None).blessed
        assert not judge(None, 0.7).blessed
        floors = [{"metric": "calibration_error", "max": 1.0}]
        assert "not defined" in judge(None, floors=floors).reasons[-1]


class TestFloors:
    def test_candidate_must_beat_chance_without_floors(self) -> None:
        assert judge(0.51).blessed
        decision = judge(0.50)
        assert not decision.blessed
        assert "majority class" in decision.reasons[0]

    def test_chance_floor_holds_against_a_worse_baseline(self) -> None:
        assert not judge(0.45, 0.30).blessed

    def test_floor_is_met_by_an_equal_value(self) -> None:
        floors = [{"metric": "accuracy", "min": 0.7, "slice": ""}]
        assert judge(0.7, floors=floors).blessed
        decision = judge(0.69, floors=floors)
        assert decision.reasons == (
            "the floor accuracy >= 0.7 on the whole test split is not met: 0.6900",
        )

    def test_unmet_floor_rejects_despite_an_improvement(self) -> None:
        assert not judge(0.69, 0.1, floors=[{"metric": "accuracy", "min": 0.7}]).blessed

    def test_maximum_limits_the_value(self) -> None:
        floors = [{"metric": "calibration_error", "max": 0.1}]
        assert judge(0.1, floors=floors).blessed
        assert not judge(0.2, floors=floors).blessed

    def test_floor_applies_to_each_value_of_a_column(self) -> None:
        slices = {
            "domain=films": metrics(0.8),
            "domain=food": metrics(0.4),
            "length=0-16": metrics(0),
        }
        decision = judge(
            0.8, slices=slices, floors=[{"metric": "auc", "min": 0.5, "slice": "domain=*"}]
        )
        assert [(floor.slice, floor.passed) for floor in decision.floors] == [
            ("domain=films", True),
            ("domain=food", False),
        ]
        assert "domain=food" in decision.reasons[0]

    def test_floor_applies_to_one_value_of_a_column(self) -> None:
        slices = {"domain=films": metrics(0.8), "domain=food": metrics(0.4)}
        floors = [{"metric": "accuracy", "min": 0.5, "slice": "domain=films"}]
        assert judge(0.8, slices=slices, floors=floors).blessed

    def test_small_slice_is_reported_but_not_judged(self) -> None:
        floors = [{"metric": "accuracy", "min": 0.5, "slice": "domain=*"}]
        slices = {"domain=food": metrics(0.1, examples=19)}
        decision = judge(0.8, slices=slices, floors=floors)
        assert decision.blessed
        assert decision.floors[0].passed is None
        assert decision.floors[0].value == 0.1
        assert "Floors not judged, on fewer than 20 examples: 1." in sentences(decision)

    def test_slice_without_test_examples_is_not_judged(self) -> None:
        decision = judge(0.8, floors=[{"metric": "accuracy", "min": 0.5, "slice": "domain=books"}])
        assert decision.blessed
        assert (decision.floors[0].examples, decision.floors[0].passed) == (0, None)

    def test_class_metric_is_measured_over_the_whole_test_split(self) -> None:
        # In the slice of its own class, precision is 1 for any model.
        slices = {"": metrics(0.8, positive=0.4), "label=positive": metrics(1.0, positive=1.0)}
        floors = [{"metric": "precision", "min": 0.5, "slice": "label=positive"}]
        assert judge(0.8, slices=slices, floors=floors).floors[0].value == 0.4

    def test_accuracy_of_a_label_is_measured_in_its_slice(self) -> None:
        slices = {"label=positive": metrics(0.3)}
        floors = [{"metric": "accuracy", "min": 0.5, "slice": "label=*"}]
        assert judge(0.8, slices=slices, floors=floors).floors[0].value == 0.3


class TestTrust:
    def test_untrustworthy_answers_are_rejected(self) -> None:
        decision = judge(0.9, 0.5, problems=("the scores are not finite",))
        assert not decision.blessed
        assert decision.reasons == ("the scores are not finite",)

    def test_notes_do_not_affect_the_decision(self) -> None:
        decision = judge(0.9, 0.5, notes=("the baseline does not know 'x'",))
        assert decision.blessed
        assert "Note: the baseline does not know 'x'." in sentences(decision)


class TestSettings:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"metric": "accuarcy"}, "one of accuracy, macro_f1"),
            ({"metric": "calibration_error"}, "one of accuracy, macro_f1"),
            ({"confidence": 95}, "between 0 and 1"),
            ({"bootstrap_samples": 0}, "1 or more"),
            ({"length_slices": [64, 16]}, "ascending"),
            ({"slice_columns": ["length"]}, "rename the column"),
            ({"floors": [{"min": 0.5}]}, "needs metric and min or max"),
            ({"floors": [{"metric": "accuracy", "mim": 0.5}]}, "needs metric and min or max"),
            ({"floors": [{"metric": "accuracy"}]}, "min or max"),
            ({"floors": [{"metric": "speed", "min": 0.5}]}, "must be one of accuracy"),
            ({"floors": [{"metric": "calibration_error", "min": 0.1}]}, "needs max, not min"),
            (
                {"floors": [{"metric": "accuracy", "min": 0.5, "slice": "domian=films"}]},
                "label, length, domain",
            ),
            ({"floors": [{"metric": "accuracy", "min": 0.5, "slice": "domain"}]}, "COLUMN=VALUE"),
            ({"floors": [{"metric": "f1", "min": 0.5}]}, "macro_f1"),
        ],
    )
    def test_illegal_setting_is_named_in_the_error(
        self, values: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(UserError, match=message):
            settings(**values)

    def test_settings_survive_json(self) -> None:
        before = settings(floors=[{"metric": "auc", "min": 0.5, "slice": "label=*"}], margin=-0.01)
        assert EvaluatorSettings.from_json(before.to_json()) == before


class TestWords:
    def test_decision_text_has_all_values(self) -> None:
        text = describe(judge(0.75, 0.70))
        assert text.startswith("# Blessed\n")
        assert "On 100 test examples, the candidate's accuracy is 0.7500 (95% interval" in text
        assert "the baseline (the last pushed model) reaches 0.7000" in text
        assert "the difference is +0.0500 (95% paired bootstrap interval -0.0200 to +0.0800" in text
        assert "better in 90% of 2000 resamples" in text

    def test_text_without_a_baseline_says_that_only_floors_decide(self) -> None:
        assert "There is no baseline" in describe(judge(0.75))

    def test_rejection_lists_every_reason(self) -> None:
        text = describe(judge(0.4, 0.5))
        assert text.startswith("# Rejected\n")
        assert "majority class is not met: 0.4000; its accuracy differs" in text

    def test_summary_is_one_line(self) -> None:
        assert (
            judge(0.75, 0.70).summary() == "accuracy 0.7500 (+0.0500 against the baseline): blessed"
        )
        assert judge(0.4).summary().startswith("accuracy 0.4000: rejected, the floor")

    def test_json_has_null_for_undefined_values(self) -> None:
        record = judge(None, interval=(float("nan"), float("nan"))).to_dict()
        assert json.loads(json.dumps(record, allow_nan=False))["candidate"] is None
