import itertools

import pytest

from components.ingestion.resolution import MEANINGS, RowOutcome, SpannedExample, resolve

A, B = b"a" * 32, b"b" * 32


def example(identity: bytes, span: int, label: str, note: str = "") -> SpannedExample:
    return identity, span, label, f"{label}|{note or span}".encode()


def relabel(serialised: bytes, label: str) -> bytes:
    return label.encode() + b"|" + serialised.split(b"|")[1]


def resolved(*examples: SpannedExample, held_out: bool = False) -> tuple[list[str], dict[str, int]]:
    """Return the remaining examples as "label|note" and the outcomes; check every input order."""
    found = []
    for order in itertools.permutations(examples):
        kept, outcomes = resolve(order, held_out=held_out, relabel=relabel)
        found.append(([serialised.decode() for *_, serialised in kept], dict(outcomes)))
    assert all(each == found[0] for each in found)
    assert sum(found[0][1].values()) == sum(span > 0 for _, span, _, _ in examples)
    return found[0]


def test_base_data_keeps_its_contradictory_labels() -> None:
    copies = [example(A, 0, "good", "x"), example(A, 0, "bad", "y"), example(A, 0, "bad", "y")]
    assert resolved(*copies) == (["bad|y", "bad|y", "good|x"], {})


@pytest.mark.parametrize("held_out", [False, True])
def test_new_text_is_added(held_out: bool) -> None:
    assert resolved(example(A, 0, "good"), example(B, 2, "bad"), held_out=held_out) == (
        ["good|0", "bad|2"],
        {"added": 1},
    )


@pytest.mark.parametrize("held_out", [False, True])
def test_copy_with_the_same_label_adds_nothing(held_out: bool) -> None:
    copies = [example(A, 0, "good", "base"), example(A, 1, "good"), example(A, 2, "good")]
    assert resolved(*copies, held_out=held_out) == (["good|base"], {"repeated": 2})


def test_feedback_corrects_the_label_of_every_copy_and_keeps_the_rest() -> None:
    copies = [example(A, 0, "good", "x"), example(A, 0, "bad", "y"), example(A, 3, "bad")]
    assert resolved(*copies) == (["bad|x", "bad|y"], {"relabelled": 1})


def test_newest_span_decides() -> None:
    copies = [example(A, 2, "bad"), example(A, 10, "fair"), example(A, 9, "good")]
    assert resolved(*copies) == (["fair|10"], {"added": 1, "superseded": 2})
    base = example(A, 0, "bad", "base")
    assert resolved(base, *copies) == (["fair|base"], {"relabelled": 1, "superseded": 2})


def test_newest_span_may_restore_the_label_of_the_data() -> None:
    copies = [example(A, 0, "bad", "base"), example(A, 1, "good"), example(A, 2, "bad")]
    assert resolved(*copies) == (["bad|base"], {"repeated": 1, "superseded": 1})


def test_test_split_keeps_its_oldest_label() -> None:
    copies = [example(A, 0, "bad", "base"), example(A, 1, "good"), example(A, 2, "bad")]
    assert resolved(*copies, held_out=True) == (["bad|base"], {"held_out": 1, "repeated": 1})
    later = [example(A, 1, "good"), example(A, 2, "bad"), example(A, 3, "good")]
    assert resolved(*later, held_out=True) == (
        ["good|1"],
        {"added": 1, "held_out": 1, "repeated": 1},
    )


def test_contradictions_within_one_span_add_one_row() -> None:
    copies = [example(A, 1, "good", "x"), example(A, 1, "bad", "y")]
    assert resolved(*copies) == (["bad|y"], {"added": 1, "superseded": 1})


def test_every_outcome_has_a_description() -> None:
    assert set(MEANINGS) == set(RowOutcome)
