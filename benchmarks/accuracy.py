"""Measure the accuracy of a pushed model on unseen texts.

    python -m benchmarks.accuracy serving_models/imdb/VERSION unseen.csv --seen imdb.csv

Reads ``text`` and ``label`` of the CSV, skips every text in the ``--seen`` files (compared by
normalised text, like the splits), calls the model's ``serving_default`` and prints the accuracy
with its 95% Wilson interval (Wilson, 1927) as one JSON line.
"""

import argparse
import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from modules.contract.text_identity import text_identity

BATCH = 64
#: 97.5% quantile of the normal distribution.
Z = 1.959964


def main() -> None:
    """Measure the accuracy and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a version folder")
    parser.add_argument("data", type=Path, help="CSV with text,label")
    parser.add_argument(
        "--seen", type=Path, action="append", default=[], help="CSV with texts to skip"
    )
    parser.add_argument("--limit", type=int, default=0, help="maximum number of texts; 0: all")
    arguments = parser.parse_args()
    seen = {text_identity(text) for path in arguments.seen for text, _ in _rows(path)}
    rows = [row for row in _rows(arguments.data) if text_identity(row[0]) not in seen]
    # Sorting by identity makes the order independent of the file's.
    rows.sort(key=lambda row: text_identity(row[0]))
    rows = rows[: arguments.limit or None]
    right = _count_right(arguments.model, rows)
    low, high = wilson_interval(right, len(rows))
    result = {"texts": len(rows), "accuracy": right / len(rows), "low": low, "high": high}
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


def _rows(path: Path) -> list[tuple[str, str]]:
    csv.field_size_limit(1 << 27)
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def _count_right(model: str, rows: Sequence[tuple[str, str]]) -> int:
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the tokenizer's ops

    signature = tf.saved_model.load(model).signatures["serving_default"]
    right = 0
    for batch in _by_length(rows):
        answers = signature(text=tf.constant([text for text, _ in batch]))["label"].numpy()
        right += sum(
            answer.decode() == label for answer, (_, label) in zip(answers, batch, strict=True)
        )
    return right


def _by_length(rows: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    """Yield batches of similar length, which need little padding."""
    ordered = sorted(rows, key=lambda row: len(row[0]))
    for start in range(0, len(ordered), BATCH):
        yield ordered[start : start + BATCH]


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """Return the 95% interval of a share (Wilson's score interval)."""
    share, square = right / total, Z * Z
    centre = share + square / (2 * total)
    spread = Z * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    return (centre - spread) / (1 + square / total), (centre + spread) / (1 + square / total)


if __name__ == "__main__":
    main()
