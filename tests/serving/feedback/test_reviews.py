from collections import Counter

import pytest
from sqlalchemy import select

from serving.feedback.errors import (
    AmbiguousTextError,
    InvalidLabelError,
    UnknownLabelError,
    UnknownPredictionError,
)
from serving.feedback.reviews import add_review
from serving.feedback.store import FeedbackStore
from serving.records.database import Database
from serving.records.tables import ReviewRow
from tests.serving.records.rows import prediction


@pytest.fixture
def identity(database: Database) -> str:
    store = FeedbackStore(database)
    store.record_predictions([prediction("r", "A film")])
    return store.add_vote(key_id="k", label="pos", prediction_id="r").text_identity


def test_first_digits_of_an_identity_name_a_text(database: Database, identity: str) -> None:
    for digits in (6, 12, 64):
        reviewed = add_review(database, identity[:digits], "neg", reviewer="me", labels=["neg"])
        assert (reviewed.text_identity, reviewed.text) == (identity, "A film")
        assert (reviewed.label, reviewed.span) == ("neg", None)


def test_later_review_replaces_an_earlier_one(database: Database, identity: str) -> None:
    add_review(database, "r-0", "neg", reviewer="me")
    add_review(database, identity, None, reviewer="you")
    with database.read() as session:
        [review] = session.scalars(select(ReviewRow)).all()
    assert (review.text_identity, review.label, review.reviewer) == (identity, None, "you")


def test_new_class_must_be_accepted_explicitly(database: Database, identity: str) -> None:
    with pytest.raises(UnknownLabelError, match=r"its labels are neg, pos"):
        add_review(database, identity, "odd", reviewer="me", labels=["pos", "neg"])
    add_review(database, identity, "odd", reviewer="me", labels=["pos"], new_class=True)
    assert FeedbackStore(database).usable_examples(labels=["pos"]).examples[0].label == "odd"


def test_review_of_an_unknown_text_is_refused(database: Database, identity: str) -> None:
    for reference in ("", identity[:5], "%", "______", "0" * 64, "nobody-0", "x\x00"):
        with pytest.raises(UnknownPredictionError, match="there is no feedback on a text"):
            add_review(database, reference, "pos", reviewer="me")


def test_ambiguous_first_digits_are_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, starts = FeedbackStore(database), Counter[str]()
    for text in map(str, range(17)):  # more texts than hex digits
        vote = store.add_vote(key_id="k", label="pos", text=text)
        starts[vote.text_identity[0]] += 1
    [(digit, _)] = starts.most_common(1)
    monkeypatch.setattr("serving.feedback.reviews.MIN_DIGITS", 1)
    with pytest.raises(AmbiguousTextError, match="texts begin with"):
        add_review(database, digit, "pos", reviewer="me")


def test_review_with_an_invalid_label_is_refused(database: Database, identity: str) -> None:
    for label in ("", "a\nb"):
        with pytest.raises(InvalidLabelError, match="the label"):
            add_review(database, identity, label, reviewer="me")
