import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from serving.feedback.errors import (
    FeedbackError,
    InvalidLabelError,
    InvalidTextError,
    TextMismatchError,
    TextNotKeptError,
    UnknownPredictionError,
)
from serving.feedback.reviews import add_review
from serving.feedback.store import FeedbackStore, LabelledAnswer
from serving.records.database import Database
from serving.records.tables import FeedbackRow, PredictionRow, ShadowPredictionRow
from tests.serving.records.rows import prediction

LABELS = ["neg", "pos"]


@pytest.fixture
def store(database: Database) -> FeedbackStore:
    clock = itertools.count(1000)
    return FeedbackStore(database, clock=lambda: float(next(clock)))


def votes(database: Database) -> list[tuple[str, str, str]]:
    with database.read() as session:
        query = select(FeedbackRow).order_by(FeedbackRow.id)
        return [(vote.key_id, vote.target, vote.label) for vote in session.scalars(query)]


def test_vote_on_a_prediction_stores_the_predicted_label(
    store: FeedbackStore, database: Database
) -> None:
    store.record_predictions([prediction("r", "A film", model_version=7)])
    vote = store.add_vote(key_id="k", label="neg", labels=LABELS, prediction_id="r-0")
    assert (vote.created, vote.changed, vote.known) == (True, False, True)
    with database.read() as session:
        kept = session.get_one(FeedbackRow, vote.id)
    assert (kept.text, kept.text_identity) == ("A film", vote.text_identity)
    assert (kept.predicted_label, kept.model_version) == ("pos", 7)
    assert (kept.created, kept.updated) == (1000.0, 1000.0)


def test_repeated_vote_is_stored_once(store: FeedbackStore, database: Database) -> None:
    store.record_predictions([prediction("r", "A film")])
    first = store.add_vote(key_id="k", label="neg", prediction_id="r-0")
    again = store.add_vote(key_id="k", label="neg", prediction_id="r")
    assert (again.id, again.created, again.changed) == (first.id, False, False)
    assert votes(database) == [("k", "r-0", "neg")]


def test_vote_with_another_label_replaces_the_first(
    store: FeedbackStore, database: Database
) -> None:
    first = store.add_vote(key_id="k", label="neg", labels=LABELS, text="A  Film")
    later = store.add_vote(key_id="k", label="odd", labels=LABELS, text="a film")
    assert (later.id, later.created, later.changed) == (first.id, False, True)
    with database.read() as session:
        kept = session.get_one(FeedbackRow, first.id)
    assert (kept.label, kept.known, kept.text) == ("odd", False, "A  Film")
    assert (kept.created, kept.updated) == (1000.0, 1001.0)


def test_votes_of_different_voters_and_targets_are_separate(
    store: FeedbackStore, database: Database
) -> None:
    store.record_predictions([prediction("r", "a"), prediction("s", "a")])
    for key, target in (("k", "r-0"), ("l", "r-0"), ("k", "s-0")):
        assert store.add_vote(key_id=key, label="pos", prediction_id=target).created
    assert len(votes(database)) == 3


def test_concurrent_equal_votes_are_stored_once(store: FeedbackStore, database: Database) -> None:
    barrier = threading.Barrier(6)

    def vote(_: int) -> bool:
        barrier.wait()
        return store.add_vote(key_id="k", label="pos", text="A film").created

    with ThreadPoolExecutor(6) as pool:
        created = list(pool.map(vote, range(6)))
    assert sum(created) == 1
    assert len(votes(database)) == 1


def test_concurrent_different_votes_are_all_stored(
    store: FeedbackStore, database: Database
) -> None:
    def vote(number: int) -> int:
        return store.add_vote(key_id=f"k{number % 3}", label="pos", text=f"text {number}").id

    with ThreadPoolExecutor(6) as pool:
        ids = list(pool.map(vote, range(60)))
    assert len(set(ids)) == len(votes(database)) == 60


REFUSED: list[tuple[dict[str, str], type[FeedbackError]]] = [
    ({"prediction_id": "nobody-0"}, UnknownPredictionError),
    ({"prediction_id": "x\x00"}, UnknownPredictionError),
    ({"prediction_id": "two"}, UnknownPredictionError),
    ({"prediction_id": "hidden-0"}, TextNotKeptError),
    ({"prediction_id": "hidden-0", "text": "another"}, TextMismatchError),
    ({"prediction_id": "two-1", "text": "another"}, TextMismatchError),
    ({"prediction_id": "blank-0"}, InvalidTextError),
    ({}, InvalidTextError),
    ({"text": " \n"}, InvalidTextError),
    ({"text": "a\x00b"}, InvalidTextError),
    ({"text": "a\ud800"}, InvalidTextError),
    ({"text": "a", "label": " "}, InvalidLabelError),
    ({"text": "a", "label": "a\nb"}, InvalidLabelError),
    ({"text": "a", "label": "a\x00b"}, InvalidLabelError),
    ({"text": "a", "label": "\udfff"}, InvalidLabelError),
    ({"text": "a", "label": "x" * 201}, InvalidLabelError),
]


def test_invalid_votes_are_refused_with_one_line(store: FeedbackStore, database: Database) -> None:
    store.record_predictions(
        [
            prediction("two", "first", 0),
            prediction("two", "second", 1),
            prediction("hidden", "hidden", kept=False),
            prediction("blank", " "),
        ]
    )
    for arguments, error in REFUSED:
        vote: dict[str, Any] = {"key_id": "k", "label": "pos", "labels": LABELS, **arguments}
        with pytest.raises(error) as caught:
            store.add_vote(**vote)
        assert type(caught.value) is error, arguments
        assert "\n" not in str(caught.value)
    assert votes(database) == []


def test_text_that_was_not_stored_may_be_sent_with_the_vote(store: FeedbackStore) -> None:
    store.record_predictions([prediction("hidden", "Hidden", kept=False)])
    vote = store.add_vote(key_id="k", label="pos", prediction_id="hidden-0", text="hidden ")
    assert vote.prediction_id == "hidden-0"


def test_spaces_around_a_label_are_dropped_unless_it_has_them(store: FeedbackStore) -> None:
    assert store.add_vote(key_id="k", label=" pos ", labels=LABELS, text="a").label == "pos"
    assert store.add_vote(key_id="k", label=" pos ", labels=[" pos "], text="b").label == " pos "


def test_without_a_vocabulary_every_label_counts(store: FeedbackStore) -> None:
    assert store.add_vote(key_id="k", label="anything", text="a").known
    assert not store.add_vote(key_id="k", label="anything", labels=LABELS, text="b").known


def test_predictions_recorded_again_stay_unchanged(
    store: FeedbackStore, database: Database
) -> None:
    shadow = {"model_version": 2, "created": 1.0, "status": "ok", "latency_ms": 1.0}
    for label in ("pos", "neg"):
        store.record_predictions(
            [prediction("r", "a", label=label), prediction(f"only {label}", "b")],
            [ShadowPredictionRow(prediction_id="r-0", label=label, score=0.5, **shadow)],
        )
    with database.read() as session:
        found = session.execute(select(PredictionRow.id, PredictionRow.label)).all()
        shadows = session.scalars(select(ShadowPredictionRow.label)).all()
    assert sorted(map(tuple, found)) == [
        ("only neg-0", "pos"), ("only pos-0", "pos"), ("r-0", "pos"),
    ]  # fmt: skip
    assert shadows == ["pos"]


def test_text_with_nul_is_not_stored(store: FeedbackStore) -> None:
    store.record_predictions([prediction("r", "a\x00b")])
    with pytest.raises(TextNotKeptError):
        store.add_vote(key_id="k", label="pos", prediction_id="r-0")


def test_old_predictions_without_votes_are_deleted(
    store: FeedbackStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.feedback.store._DELETE_AT_ONCE", 4)
    old = [prediction(f"old{number}", "a", created=99.0) for number in range(10)]
    shadow = ShadowPredictionRow(
        prediction_id="old0-0", model_version=2, created=99.0, status="ok", latency_ms=1.0
    )
    store.record_predictions([*old, prediction("new", "a")], [shadow])
    store.add_vote(key_id="k", label="pos", prediction_id="old3-0")
    assert store.delete_old(before=100.0) == 9
    assert store.delete_old(before=100.0) == 0
    with database.read() as session:
        assert set(session.scalars(select(PredictionRow.id))) == {"old3-0", "new-0"}
        assert session.scalars(select(ShadowPredictionRow)).all() == []


def test_outcomes_take_the_true_label_from_agreeing_voters_or_a_review(
    store: FeedbackStore, database: Database
) -> None:
    names = ("agreed", "disputed", "reviewed", "discarded", "early")
    store.record_predictions([prediction(name, name) for name in names])
    store.record_predictions([prediction("failed", "failed", label=None)])
    store.add_vote(key_id="k", label="pos", prediction_id="early")
    store.add_vote(key_id="k", label="pos", text="no prediction")
    store.add_vote(key_id="k", label="pos", prediction_id="failed")
    for name in names[:4]:
        store.add_vote(key_id="k", label="neg", prediction_id=name)
    store.add_vote(key_id="l", label="neg", prediction_id="agreed")
    store.add_vote(key_id="l", label="pos", prediction_id="disputed")
    add_review(database, "reviewed-0", "pos", reviewer="me")
    add_review(database, "discarded-0", None, reviewer="me")
    assert store.feedback_outcomes(since=1001.0) == [
        LabelledAnswer("pos", "neg", 1, 1003.0),
        LabelledAnswer("pos", "pos", 1, 1005.0),
    ]
