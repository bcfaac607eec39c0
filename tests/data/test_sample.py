import csv
from collections import Counter
from pathlib import Path

from modules.contract.text_identity import text_identity

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "reviews.csv"
DOMAINS = ("products", "films", "food", "hotels", "books")


def rows() -> list[dict[str, str]]:
    with SAMPLE.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


def test_sample_is_balanced_over_domains_and_labels() -> None:
    counts = Counter((row["domain"], row["label"]) for row in rows())
    assert counts == {(d, label): 100 for d in DOMAINS for label in ("positive", "negative")}


def test_domains_alternate() -> None:
    assert [row["domain"] for row in rows()] == list(DOMAINS) * 200


def test_reviews_are_unique() -> None:
    assert len({text_identity(row["text"]) for row in rows()}) == 1000


def test_reviews_vary_in_length_and_beginning() -> None:
    words = sorted(len(row["text"].split()) for row in rows())
    assert words[0] <= 3
    assert words[-1] >= 100
    starts = Counter(tuple(row["text"].split()[:3]) for row in rows())
    assert starts.most_common(1)[0][1] <= 12
