import pytest

from serving.records.tables import ReviewRow
from serving.rollout.figures import Outcomes, StageFigures, Traffic, read_figures
from serving.rollout.state import CANARY, SHADOW, RolloutState
from tests.serving.rollout.traffic import call, mirror, vote


def state(stage) -> RolloutState:
    return RolloutState("default", 3, 1, candidate=2, stage=stage, stage_started=100.0)


@pytest.fixture
def database(either_database):
    return either_database


@pytest.mark.parametrize("stage", [SHADOW, CANARY])
def test_figures_without_traffic_are_zero(database, stage) -> None:
    assert read_figures(database, state(stage), 100.0) == StageFigures()


def test_calls_of_the_canary_and_the_stable_version_are_counted(database) -> None:
    for latency in (10.0, 30.0, 20.0):
        call(database, 1, "stable", 101.0, latency_ms=latency, labels=("pos", "neg"))
    for latency in (5.0, 50.0, 7.0, 9.0):
        call(database, 2, "canary", 101.0, latency_ms=latency)
    call(database, 2, "canary", 102.0, status="INTERNAL", latency_ms=900.0, labels=("a", "b"))
    call(database, None, "canary", 102.0, status="UNAVAILABLE")
    call(database, 2, "canary", 99.0, status="INTERNAL")  # before the stage
    call(database, 7, "canary", 102.0, status="INTERNAL")  # another candidate's
    figures = read_figures(database, state(CANARY), 50.0)
    assert figures.candidate == Traffic(requests=6, failures=2, median_ms=8.0)
    assert figures.stable == Traffic(requests=3, failures=0, median_ms=20.0)
    assert (figures.compared, figures.disagreements) == (0, 0)


def test_parts_of_a_stream_are_separate_calls(database) -> None:
    from serving.records.tables import PredictionRow

    with database.begin() as session:
        for part in range(3):
            for position in range(2):
                session.add(
                    PredictionRow(
                        id=f"s-{part}-{position}", request_id="s", position=2 * part + position,
                        created=101.0 + part, key_id="k", model_version=2, role="canary",
                        status="ok" if part else "INTERNAL", latency_ms=10.0, label="a", score=1.0,
                        scores=None, text="t", text_identity="t", characters=1,
                    )
                )  # fmt: skip
    assert read_figures(database, state(CANARY), 50.0).candidate == Traffic(3, 1, 10.0)


def test_shadow_is_compared_on_the_same_texts(database) -> None:
    first = call(database, 1, "stable", 101.0, labels=("pos", "neg"), latency_ms=10.0)
    mirror(database, first, 2, 101.0, labels=("pos", "pos"), latency_ms=40.0)
    second = call(database, 1, "stable", 102.0, latency_ms=20.0)
    mirror(database, second, 2, 102.0, status="INTERNAL", latency_ms=1.0)
    call(database, 1, "stable", 103.0, latency_ms=900.0)  # was not mirrored
    old = call(database, 1, "stable", 60.0)
    mirror(database, old, 9, 103.0)  # another candidate's
    figures = read_figures(database, state(SHADOW), 100.0)
    assert figures.candidate == Traffic(requests=2, failures=1, median_ms=40.0)
    assert figures.stable == Traffic(requests=2, failures=0, median_ms=15.0)
    assert (figures.compared, figures.disagreements) == (2, 1)


def test_feedback_is_counted_once_per_text(database) -> None:
    texts = ["a", "b", "c", "d", "e"]
    shadowed = call(database, 1, "stable", 60.0, labels=["pos"] * 5, texts=texts)
    mirror(database, shadowed, 2, 60.0, labels=["neg"] * 5)
    call(database, 2, "canary", 101.0, labels=("neg", "neg"), texts=["a", "f"])  # a once more
    call(database, 1, "stable", 40.0, labels=("neg",), texts=["f"])  # before the trial
    vote(database, "a", "pos")
    vote(database, "a", "pos", key="another")
    vote(database, "b", "neg")
    vote(database, "c", "pos")
    vote(database, "c", "neg", key="another")  # a conflict
    vote(database, "d", "brand new", known=False)
    vote(database, "e", "neg")
    vote(database, "f", "neg")
    with database.begin() as session:
        session.add(ReviewRow(text_identity="b", label="pos", reviewer="r", created=1.0))
        session.add(ReviewRow(text_identity="e", label=None, reviewer="r", created=1.0))
    figures = read_figures(database, state(CANARY), 50.0)
    assert figures.candidate_feedback == Outcomes(correct=1, total=3)  # a, b, f
    assert figures.stable_feedback == Outcomes(correct=2, total=2)  # a, b
