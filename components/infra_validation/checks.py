"""Judges what the worker saw. Pure: a reply in, a list of failures out. NumPy only."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

SIGNATURES = ("serving_default", "serving_examples")

#: How each way of asking is called in a failure.
WAYS = {
    "one_by_one": "serving_default, one text a request",
    "one_batch": "serving_default, all texts in one request",
    "examples": "serving_examples",
}


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a model may take; 0 sets no limit.

    Attributes:
        max_load_seconds: from the call that loads the export to its return.
        max_memory_mb: peak resident memory of the process, TensorFlow included, in MiB.
        max_latency_ms: 99th percentile of one-text requests.
    """

    max_load_seconds: float = 0.0
    max_memory_mb: float = 0.0
    max_latency_ms: float = 0.0


@dataclasses.dataclass(frozen=True)
class Failure:
    """One thing that is wrong.

    Attributes:
        check: "expected_answers", "process", "signature", "answer", "limit".
        message: one sentence.
        text: the text that was answered otherwise, or None.
        expected: what the trainer answered, or None.
        received: what the export answered, or None.
    """

    check: str
    message: str
    text: str | None = None
    expected: Any = None
    received: Any = None

    def to_dict(self) -> dict[str, Any]:
        """The failure as JSON types; a score that is not finite is null."""
        values = dataclasses.asdict(self)
        for answer in (values["expected"], values["received"]):
            if answer:
                answer["scores"] = [s if math.isfinite(s) else None for s in answer["scores"]]
        return values


def check_reply(
    reply: dict[str, Any], expected: Sequence[dict[str, Any]], tolerance: float, limits: Limits
) -> list[Failure]:
    """Everything that is wrong with a model.

    Args:
        reply: what ``worker.replay`` answered.
        expected: the trainer's own ``text``, ``label`` and ``scores`` of each replayed text.
        tolerance: by how much a score may differ.
        limits: on load time, memory and latency.
    """
    failures = [
        Failure("signature", f"the export has no signature {name!r}; it has {reply['signatures']}")
        for name in SIGNATURES
        if name not in reply["signatures"]
    ]
    for way, error in reply["errors"].items():
        failures.append(Failure("signature", f"{WAYS.get(way, way)} fails: {error}"))
    for way, name in WAYS.items():
        if way in reply["answers"]:
            failures.extend(_compare(name, reply["answers"][way], expected, tolerance))
    failures.extend(_compare_test_examples(reply["answers"], tolerance))
    failures.extend(_check_limits(reply, limits))
    return failures


def _compare(
    name: str, answers: dict[str, Any], expected: Sequence[dict[str, Any]], tolerance: float
) -> list[Failure]:
    if len(answers["scores"]) != len(expected) or len(answers["labels"]) != len(expected):
        count = len(answers["scores"])
        message = f"{name}: {count} answers to {len(expected)} texts"
        return [Failure("answer", message)]
    failures = []
    for record, scores, label in zip(expected, answers["scores"], answers["labels"], strict=True):
        reason = _difference(record, scores, label, tolerance)
        if reason:
            failures.append(
                Failure(
                    "answer",
                    f"{name}: {reason}",
                    text=record["text"],
                    expected={"label": record["label"], "scores": record["scores"]},
                    received={"label": label, "scores": scores},
                )
            )
    return failures


def _difference(
    record: dict[str, Any], scores: list[float], label: str, tolerance: float
) -> str | None:
    if len(scores) != len(record["scores"]):
        return f"{len(scores)} scores where the trainer gave {len(record['scores'])}"
    gap = np.abs(np.subtract(scores, record["scores"]))
    # Written so that NaN, which compares false with everything, is refused.
    if not bool((gap <= tolerance).all()):
        return (
            f"a score differs from the trainer's by {float(gap.max()):.2e}, more than the "
            f"tolerance of {tolerance:.0e}"
        )
    if label != record["label"] and not _tied(record["scores"], tolerance):
        return f"answers {label!r} where the trainer answered {record['label']!r}"
    return None


def _tied(scores: list[float], tolerance: float) -> bool:
    """Whether the two best scores are so close that either label is right."""
    best = sorted(scores, reverse=True)[:2]
    return len(best) == 2 and best[0] - best[1] <= 2 * tolerance


def _compare_test_examples(answers: dict[str, Any], tolerance: float) -> list[Failure]:
    """Raw examples, with all their columns, must be answered as their texts are."""
    if "test_examples" not in answers or "test_texts" not in answers:
        return []
    ours, theirs = answers["test_examples"]["scores"], answers["test_texts"]["scores"]
    gap = np.abs(np.subtract(ours, theirs)).max(axis=1)
    wrong = int((~(gap <= tolerance)).sum())
    if not wrong:
        return []
    message = (
        f"serving_examples answers {wrong} of {len(ours)} test examples otherwise than "
        "serving_default answers their texts"
    )
    return [Failure("answer", message)]


def _check_limits(reply: dict[str, Any], limits: Limits) -> list[Failure]:
    checks = [
        ("load_seconds", limits.max_load_seconds, "loading took", "s"),
        ("peak_memory_mb", limits.max_memory_mb, "memory peaked at", "MiB"),
        ("p99_ms", limits.max_latency_ms, "the 99th percentile of latency is", "ms"),
    ]
    failures = []
    for key, limit, words, unit in checks:
        if limit and not reply.get(key, float("inf")) <= limit:
            message = f"{words} {reply.get(key, float('nan')):.1f} {unit}, the limit is {limit:g}"
            failures.append(Failure("limit", message))
    return failures
