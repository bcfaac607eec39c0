"""Texts for the drift benchmark: unseen film reviews, and texts that differ from them."""

import csv
import dataclasses
import random
import re
import string
from collections.abc import Callable, Sequence
from pathlib import Path

from modules.contract.text_identity import text_identity

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample" / "reviews.csv"
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclasses.dataclass(frozen=True)
class Pool:
    """Texts of one kind.

    Attributes:
        texts: the texts.
        labels: true labels; empty if the model does not have these labels.
    """

    texts: list[str]
    labels: list[str]


def make_pools(train: Path, unseen: Path, other: Path, films: int, drifted: int) -> dict[str, Pool]:
    """Return all kinds of texts; those without drift are "films".

    Args:
        train: CSV of training data, whose texts are skipped.
        unseen: CSV from the same source.
        other: CSV from another domain.
        films: maximum number of texts without drift.
        drifted: maximum number of texts of each other kind.
    """
    seen = {text_identity(text) for text, _ in _rows(train)}
    rows = {text_identity(text): (text, label) for text, label in _rows(unseen)}
    fresh = [rows[identity] for identity in sorted(rows) if identity not in seen]
    elsewhere = {text_identity(text): text for text, _ in _rows(other)}
    posts = [elsewhere[identity] for identity in sorted(elsewhere)][:drifted]
    pools = {"films": _pool(fresh[:films]), "posts": Pool(posts, [])}
    spare = fresh[films : films + drifted]
    for share in (0.05, 0.1, 0.2):
        pools[f"films, {share:.0%} typos"] = _altered(
            spare, lambda text, s=share: add_typos(text, s)
        )
    pools["films, first half"] = _altered(spare, _first_half)
    pools["films, first two sentences"] = _altered(spare, _two_sentences)
    pools |= _sample_pools()
    return pools


def add_typos(text: str, share: float) -> str:
    """Add random typos: letters that are dropped, doubled, swapped or replaced.

    Args:
        text: the original text, which also seeds the generator.
        share: share of the letters to change, from 0 to 1.
    """
    generator = random.Random(text)
    letters = list(text)
    for position, letter in enumerate(letters):
        if not letter.isalpha() or generator.random() >= share:
            continue
        kind = generator.randrange(4)
        if kind == 0:
            letters[position] = ""
        elif kind == 1:
            letters[position] = letter * 2
        elif kind == 2 and position + 1 < len(letters):
            letters[position], letters[position + 1] = letters[position + 1], letter
        else:
            letters[position] = generator.choice(string.ascii_lowercase)
    return "".join(letters)


def _first_half(text: str) -> str:
    return text[: len(text) // 2]


def _two_sentences(text: str) -> str:
    return " ".join(_SENTENCE.split(text)[:2])


def _altered(rows: Sequence[tuple[str, str]], alter: Callable[[str], str]) -> Pool:
    return _pool([(alter(text), label) for text, label in rows])


def _sample_pools() -> dict[str, Pool]:
    """Return the bundled reviews of other products than films, which are also much shorter."""
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # The film reviews have the labels 1 and 0.
    names = {"positive": "1", "negative": "0"}
    other = [(row["text"], names[row["label"]]) for row in rows if row["domain"] != "films"]
    return {"sample, not films": _pool(other)}


def _pool(rows: Sequence[tuple[str, str]]) -> Pool:
    return Pool([text for text, _ in rows], [label for _, label in rows])


def _rows(path: Path) -> list[tuple[str, str]]:
    csv.field_size_limit(1 << 27)
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]
