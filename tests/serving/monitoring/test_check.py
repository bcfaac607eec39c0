"""The windows that are raised, the tests that raise them, and the report."""

import json

import numpy as np
import pytest

from serving.monitoring.check import TESTS, DriftReport, check, holm_limits
from serving.monitoring.descriptions import Descriptions
from tests.serving.monitoring.made_descriptions import LABELS, WIDTH, describe_made


def check_made(window: Descriptions, rate: float = 0.01) -> DriftReport:
    return check(describe_made(400, 1), window, LABELS, false_alarm_rate=rate)


def raised(report: DriftReport) -> set[str]:
    return {test.name for test in report.tests if test.raised}


def test_undrifted_traffic_is_not_raised_and_the_report_is_reproducible() -> None:
    report = check_made(describe_made(200, 2))
    assert not report.raised
    assert [test.name for test in report.tests] == [test.name for test in TESTS]
    assert (report.reference_texts, report.window_texts) == (400, 200)
    assert report == check_made(describe_made(200, 2))
    assert report.sentences == ["no drift in 200 texts"]
    json.dumps(report.to_dict())


@pytest.mark.parametrize("name", [test.name for test in TESTS])
def test_each_test_detects_only_its_own_kind_of_drift(name: str) -> None:
    count, generator = 200, np.random.default_rng(5)
    base = describe_made(count, 2)
    changes = {
        "length": {"characters": base.characters // 4},
        "vocabulary": {"words": base.words[:, ::-1].copy()},
        "unknown": {"unknown_tokens": base.unknown_tokens + 1},
        "classes": _one_class(base),
        "embeddings": {"embeddings": generator.normal(0.6, 1, (count, WIDTH))},
        "confidence": {"scores": 0.5 + (base.scores - 0.5) * 0.5},
    }
    report = check_made(describe_made(count, 2, **changes[name]))
    assert report.raised
    assert raised(report) == {name}
    [sentence] = report.sentences
    assert "drifted" in sentence


def _one_class(base: Descriptions) -> dict[str, np.ndarray]:
    """Predict "pos" for all texts, with unchanged confidence."""
    return {"scores": np.sort(base.scores, axis=1), "answers": np.ones_like(base.answers)}


def test_significant_but_small_difference_is_not_raised() -> None:
    count = 1500
    reference = describe_made(count, 1)
    window = describe_made(count, 2)
    slightly = (window.characters * 1.2).astype(np.int32)
    window = describe_made(count, 2, characters=slightly)
    report = check(reference, window, LABELS, false_alarm_rate=0.01)
    [length] = [test for test in report.tests if test.name == "length"]
    assert length.p <= length.p_limit
    assert length.statistic < length.threshold
    assert not report.raised
    assert "too little to matter" in length.sentence


def test_drift_is_raised_at_a_very_low_alarm_rate() -> None:
    window = describe_made(150, 2, embeddings=np.full((150, WIDTH), 3.0, np.float32))
    report = check_made(window, rate=0.001)
    assert "embeddings" in raised(report)


def test_class_that_only_the_window_has_is_raised_and_named() -> None:
    reference = describe_made(400, 1)
    window = describe_made(200, 2)
    wide = [np.pad(texts.scores, ((0, 0), (0, 1))) for texts in (reference, window)]
    reference = describe_made(400, 1, scores=wide[0])
    window = describe_made(200, 2, scores=wide[1][:, ::-1].copy(), answers=np.full(200, 2))
    report = check(reference, window, [*LABELS, "new"], false_alarm_rate=0.01)
    [classes] = [test for test in report.tests if test.name == "classes"]
    assert classes.raised
    assert classes.window.startswith("new 100%")


def test_holm_limits_match_the_procedure() -> None:
    assert holm_limits([0.2, 0.001, 0.012], 0.03) == pytest.approx([0.03, 0.01, 0.015])
    # After the first that fails, the same limit applies to all that follow, which fail as well.
    assert holm_limits([0.02, 0.2, 0.021], 0.03) == pytest.approx([0.01, 0.01, 0.01])
    assert holm_limits([0.01, 0.015, 0.03], 0.03) == pytest.approx([0.01, 0.015, 0.03])
