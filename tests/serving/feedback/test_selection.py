"""The selection of examples without a database: each rule, then properties of any votes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.feedback import selection as rules
from serving.feedback.reasons import CONFLICT, NEW_CLASS, REASONS
from serving.feedback.selection import ExportSettings, Selection, select_examples
from serving.records.tables import ANONYMOUS, FeedbackRow, ReviewRow

LABELS = ("neg", "pos")
NO_CAP = ExportSettings(max_share_per_key=1.0)


def vote(
    number: int, text: str, key: str, label: str, updated: float = 0.0, known: bool = True
) -> FeedbackRow:
    return FeedbackRow(
        id=number,
        text=f"{text}!",
        text_identity=text,
        key_id=key,
        label=label,
        updated=updated,
        known=known,
    )


def choose(
    *votes: tuple[str, str, str],
    settings: ExportSettings = NO_CAP,
    reviews: dict[str, str | None] | None = None,
    exported: tuple[str, ...] = (),
    held_out: tuple[str, ...] = (),
    labels: tuple[str, ...] = LABELS,
) -> Selection:
    """Select from votes (text, key, label), oldest first."""
    rows = [vote(number, *each, updated=number) for number, each in enumerate(votes, 1)]
    reviewed = {
        text: ReviewRow(text_identity=text, label=label) for text, label in (reviews or {}).items()
    }
    return select_examples(rows, reviewed, exported, settings, held_out, labels)


def outcome(selection: Selection) -> dict[str, str]:
    """Map each text to its label, or to the reason in angle brackets."""
    chosen = {each.text_identity: each.label or "" for each in selection.examples}
    return chosen | {each.text_identity: f"<{each.reason}>" for each in selection.left_out}


def test_agreeing_votes_become_one_example() -> None:
    selection = choose(("a", "k", "pos"), ("a", "l", "pos"))
    [example] = selection.examples
    assert (example.text, example.label) == ("a!", "pos")
    assert example.votes == (("k", "pos"), ("l", "pos"))


def test_conflict_is_set_aside_with_both_votes() -> None:
    [conflict] = choose(("a", "k", "pos"), ("a", "l", "neg")).of(CONFLICT)
    assert conflict.votes == (("k", "pos"), ("l", "neg"))
    assert conflict.label is None


def test_last_vote_of_a_key_on_a_text_counts() -> None:
    """A text may be predicted twice, and voted on twice."""
    assert outcome(choose(("a", "k", "pos"), ("a", "k", "neg"))) == {"a": "neg"}


def test_votes_without_a_key_must_all_agree() -> None:
    assert outcome(choose(("a", ANONYMOUS, "pos"), ("a", ANONYMOUS, "neg"))) == {"a": "<conflict>"}
    two = ExportSettings(min_votes=2)
    votes = [("a", ANONYMOUS, "pos"), ("a", ANONYMOUS, "pos")]
    assert outcome(choose(*votes, settings=two)) == {"a": "<too_few_votes>"}
    assert outcome(choose(*votes, ("a", "k", "pos"), settings=two)) == {"a": "pos"}


def test_review_overrides_all_votes() -> None:
    votes = [("a", "k", "pos"), ("a", "l", "neg"), ("b", "k", "pos"), ("c", "k", "odd")]
    reviews = {"a": "neg", "b": None, "c": "odd"}
    strict = ExportSettings(min_votes=3, max_share_per_key=0.01)
    selection = choose(*votes, reviews=reviews, settings=strict)
    assert outcome(selection) == {"a": "neg", "b": "<discarded>", "c": "odd"}
    assert selection.counts()["reviewed"] == 2


def test_review_does_not_export_held_out_or_exported_texts() -> None:
    votes = [("a", "k", "pos"), ("b", "k", "pos")]
    reviews: dict[str, str | None] = {"a": "pos", "b": "pos"}
    selection = choose(*votes, reviews=reviews, held_out=("a",), exported=("b",))
    assert outcome(selection) == {"a": "<held_out>", "b": "<already_exported>"}


def test_label_outside_the_vocabulary_is_set_aside() -> None:
    [aside] = choose(("a", "k", "odd")).of(NEW_CLASS)
    assert aside.votes == (("k", "odd"),)
    assert outcome(choose(("a", "k", "odd"), labels=("odd",))) == {"a": "odd"}


def test_known_flag_of_the_vote_counts_without_a_vocabulary() -> None:
    rows = [vote(1, "a", "k", "odd", known=False), vote(2, "b", "l", "fine")]
    assert outcome(select_examples(rows, {}, (), NO_CAP)) == {"a": "<new_class>", "b": "fine"}


def test_text_over_the_byte_limit_is_left_out() -> None:
    settings = ExportSettings(max_share_per_key=1.0, max_text_bytes=4)
    selection = choose(("aaa", "k", "pos"), ("ääa", "k", "pos"), settings=settings)
    assert outcome(selection) == {"aaa": "pos", "ääa": "<text_too_long>"}


@pytest.mark.parametrize(
    ("share", "per_key", "expected"),
    [
        (0.5, {"k": 10, "l": 4, "m": 3}, {"k": 7, "l": 4, "m": 3}),
        (0.5, {"k": 10, "l": 4}, {"k": 4, "l": 4}),
        (0.5, {"k": 10}, {}),
        (0.4, {"k": 10, "l": 10}, {}),
        (0.4, {"k": 10, "l": 10, "m": 10}, {"k": 10, "l": 10, "m": 10}),
        (0.25, {"k": 100, ANONYMOUS: 30}, {"k": 10, ANONYMOUS: 30}),
        (1.0, {"k": 10}, {"k": 10}),
    ],
)
def test_no_key_exceeds_its_share_of_the_span(
    share: float, per_key: dict[str, int], expected: dict
) -> None:
    votes = [(f"{key}{n}", key, "pos") for key, count in per_key.items() for n in range(count)]
    selection = choose(*votes, settings=ExportSettings(max_share_per_key=share))
    taken = Counter(example.votes[0][0] for example in selection.examples)
    assert taken == expected
    assert selection.counts()["over_share"] == len(votes) - sum(expected.values())


def test_example_of_two_agreeing_keys_counts_for_neither() -> None:
    votes = [(str(n), key, "pos") for n in range(5) for key in ("k", "l")]
    assert len(choose(*votes, settings=ExportSettings()).examples) == 5


def test_reviewed_texts_and_then_the_oldest_come_first() -> None:
    votes = [(text, "k", "pos") for text in "dcba"]
    settings = ExportSettings(max_share_per_key=1.0, max_examples=2)
    assert outcome(choose(*votes, settings=settings, reviews={"a": "neg"})) == {
        "a": "neg", "d": "pos", "b": "<over_max_examples>", "c": "<over_max_examples>",
    }  # fmt: skip


TEXTS = st.sampled_from("abcdefghij")
VOTES = st.lists(
    st.tuples(TEXTS, st.sampled_from(["k", "l", "m", ANONYMOUS]), st.sampled_from("xyz")),
    max_size=60,
)
SETTINGS = st.builds(
    ExportSettings,
    min_votes=st.integers(1, 3),
    max_share_per_key=st.floats(0.05, 1.0),
    max_examples=st.integers(1, 12),
)


@given(
    votes=VOTES,
    settings=SETTINGS,
    reviews=st.dictionaries(TEXTS, st.sampled_from(["x", "y", None])),
    exported=st.frozensets(TEXTS, max_size=3),
    held_out=st.frozensets(TEXTS, max_size=3),
)
def test_selection_rules_hold_for_any_votes(votes, settings, reviews, exported, held_out) -> None:
    def chosen() -> Selection:
        return choose(
            *votes,
            settings=settings,
            reviews=reviews,
            exported=tuple(exported),
            held_out=tuple(held_out),
            labels=("x", "y"),
        )

    selection = chosen()
    assert selection == chosen()
    names = [each.text_identity for each in selection.examples + selection.left_out]
    assert sorted(names) == sorted({text for text, _, _ in votes}), "each text once, none lost"
    counts = selection.counts()
    assert counts["texts"] == counts["exported"] + sum(counts[reason] for reason in REASONS)
    assert len(selection.examples) <= settings.max_examples
    for example in selection.examples:
        assert example.text_identity not in exported | held_out
        if example.text_identity in reviews:
            assert example.label == reviews[example.text_identity] is not None
        else:
            assert {label for _, label in example.votes} == {example.label} <= {"x", "y"}
            assert len({voter for voter, _ in example.votes}) >= settings.min_votes
    shares = Counter(
        next(iter(voters))
        for example in selection.examples
        if not example.reviewed and len(voters := {voter for voter, _ in example.votes}) == 1
    )
    del shares[ANONYMOUS]
    for count in shares.values():
        assert count <= settings.max_share_per_key * len(selection.examples)


@given(
    free=st.integers(0, 20),
    per_key=st.lists(st.integers(1, 20), max_size=4),
    share=st.floats(0.01, 1.0),
    most=st.integers(1, 60),
)
def test_largest_feasible_span_is_chosen(
    free: int, per_key: list[int], share: float, most: int
) -> None:
    """Compare with a search over all sizes."""
    settings = ExportSettings(max_share_per_key=share, max_examples=most)

    def feasible(size: int) -> bool:
        return size <= free + sum(min(count, int(share * size)) for count in per_key)

    largest = max(size for size in range(most + 1) if feasible(size))
    assert rules._largest_size(free, per_key, settings) == largest
