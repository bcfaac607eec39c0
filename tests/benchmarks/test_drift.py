"""Texts, windows and counts of the drift benchmark."""

import numpy as np

from benchmarks import drift, drift_texts
from benchmarks.drift import Described
from tests.serving.monitoring.made_descriptions import LABELS, describe_made


def described(count: int, seed: int) -> Described:
    texts = describe_made(count, seed)
    return Described(texts, texts.answers.copy())


def test_typos_have_the_requested_share_and_are_reproducible() -> None:
    text = "the quick brown fox jumps over the lazy dog " * 50
    mistyped = drift_texts.add_typos(text, 0.1)
    assert mistyped == drift_texts.add_typos(text, 0.1)
    assert drift_texts.add_typos(text, 0.0) == text
    words = [a != b for a, b in zip(text.split(), mistyped.split(), strict=False)]
    assert 0.2 < np.mean(words) < 0.6


def test_windows_match_their_names() -> None:
    pools = {"posts": described(300, 2)}
    traffic = drift.make_traffic(pools, 100)
    rest = described(500, 3)
    generator = np.random.default_rng(0)
    tenth = traffic["films, 10% posts"](generator, rest)
    names = [name.decode().split("-")[0] for name in tenth.texts.identities]
    assert (names.count("2"), names.count("3")) == (10, 90)
    mixed = traffic["films, classes 70%"](generator, rest)
    assert np.sum(mixed.true == 0) == 70
    assert len(set(mixed.texts.identities.tolist())) == 100


def test_summary_counts_windows() -> None:
    films, posts = described(400, 1), described(200, 2)
    posts = Described(
        describe_made(200, 2, characters=posts.texts.characters // 5), np.full(200, -1)
    )
    traffic = drift.make_traffic({"posts": posts}, 100)
    outcomes = [
        drift.measure(films, traffic["posts"], LABELS, 200, 0.01, seed) for seed in range(2)
    ]
    summary = drift.summarise(outcomes)
    assert (summary["windows"], summary["window_texts"], summary["raised"]) == (2, 100, 1.0)
    assert summary["raised_by"]["length"] == 1.0
    assert "accuracy" not in summary
    same = drift.measure(films, traffic["films"], LABELS, 200, 0.01, 7)
    assert not same.report.raised
    assert same.accuracy == 1.0
