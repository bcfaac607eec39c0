"""Checks of a model server's answers: pure functions that return failures. NumPy only."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

SIGNATURES = ("serving_default", "serving_examples")

#: Description of each way of sending requests, for failures.
WAYS = {
    "one_by_one": "serving_default, one text a request",
    "one_batch": "serving_default, all texts in one request",
    "examples": "serving_examples",
    "bfloat16": "serving_default_bfloat16",
    "test_texts": "serving_default on texts of the test split",
    "test_examples": "serving_examples on the test split",
}
_EXACT_WAYS = ("one_by_one", "one_batch", "examples")
#: bfloat16 keeps 8 of a float32's 24 bits: the median score may change by this much,
_BFLOAT16_MEDIAN = 1e-3
#: and a label may change only if the two best scores are this close.
_BFLOAT16_TIE = 0.02


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits on a model's resources; 0 sets no limit.

    Attributes:
        max_load_seconds: time from passing the model to a server until the server answers with it.
        max_memory_mb: peak memory of the server, including TensorFlow, in MiB.
        max_latency_ms: 99th percentile of the latency of one-text requests over the slower of REST
            and gRPC, in ms.
        max_size_mb: size of the export's files, in MiB.
    """

    max_load_seconds: float = 0.0
    max_memory_mb: float = 0.0
    max_latency_ms: float = 0.0
    max_size_mb: float = 0.0


@dataclasses.dataclass(frozen=True)
class Failure:
    """One failed check.

    Attributes:
        check: "model", "op", "signature", "answer" or "limit".
        message: one sentence.
        text: the text whose answer is wrong, or None.
        expected: the trainer's ``label`` and ``scores``, or None.
        received: the server's ``label`` and ``scores``, or None.
    """

    check: str
    message: str
    text: str | None = None
    expected: Any = None
    received: Any = None

    def to_dict(self) -> dict[str, Any]:
        """Return the failure as JSON types; a score that is not finite is null."""
        values = dataclasses.asdict(self)
        for answer in (values["expected"], values["received"]):
            if answer:
                answer["scores"] = [s if math.isfinite(s) else None for s in answer["scores"]]
        return values


def check_reply(
    reply: dict[str, Any], expected: Sequence[dict[str, Any]], tolerance: float
) -> list[Failure]:
    """Compare a server's answers with the trainer's and return all failures.

    Args:
        reply: the result of ``server_replay.replay``.
        expected: the trainer's ``text``, ``label`` and ``scores`` for each replayed text.
        tolerance: largest accepted difference of a score.
    """
    failures = [
        Failure("signature", f"the export has no signature {name!r}; it has {reply['signatures']}")
        for name in SIGNATURES
        if name not in reply["signatures"]
    ]
    for protocol, errors in reply["errors"].items():
        for way, error in errors.items():
            failures.append(Failure("signature", f"{_name(protocol, way)} fails: {error}"))
    for protocol, answers in reply["answers"].items():
        for way in _EXACT_WAYS:
            if way in answers:
                name = _name(protocol, way)
                failures.extend(_compare(name, answers[way], expected, tolerance))
        failures.extend(_compare_test_examples(protocol, answers, tolerance))
        failures.extend(_compare_bfloat16(protocol, answers, expected))
    return failures


def _name(protocol: str, way: str) -> str:
    return f"{WAYS.get(way, way)} over {_PROTOCOLS.get(protocol, protocol)}"


_PROTOCOLS = {"rest": "REST", "grpc": "gRPC"}


def _compare_bfloat16(
    protocol: str, answers: dict[str, Any], expected: Sequence[dict[str, Any]]
) -> list[Failure]:
    """Check bfloat16: it may round scores but must not change labels."""
    if "bfloat16" not in answers:
        return []
    name = _name(protocol, "bfloat16")
    ours = answers["bfloat16"]
    if np.shape(ours["scores"]) != np.shape([record["scores"] for record in expected]):
        found = np.shape(ours["scores"])
        return [Failure("answer", f"{name}: scores of shape {found}, unlike the trainer's")]
    gaps = np.abs(np.subtract(ours["scores"], [record["scores"] for record in expected]))
    failures = []
    if not float(np.median(gaps)) <= _BFLOAT16_MEDIAN:
        message = (
            f"{name}: the median difference from the trainer's scores is "
            f"{float(np.median(gaps)):.2e}, more than {_BFLOAT16_MEDIAN:.0e}"
        )
        failures.append(Failure("answer", message))
    for record, label, scores in zip(expected, ours["labels"], ours["scores"], strict=True):
        if label != record["label"] and not _tied(record["scores"], _BFLOAT16_TIE / 2):
            reason = f"answers {label!r} but the trainer answered {record['label']!r}"
            failures.append(_wrong_answer(name, reason, record, label, scores))
    return failures


def _compare(
    name: str, answers: dict[str, Any], expected: Sequence[dict[str, Any]], tolerance: float
) -> list[Failure]:
    if len(answers["scores"]) != len(expected) or len(answers["labels"]) != len(expected):
        count = len(answers["scores"])
        message = f"{name}: {count} answers for {len(expected)} texts"
        return [Failure("answer", message)]
    failures = []
    for record, scores, label in zip(expected, answers["scores"], answers["labels"], strict=True):
        if reason := _difference(record, scores, label, tolerance):
            failures.append(_wrong_answer(name, reason, record, label, scores))
    return failures


def _wrong_answer(
    name: str, reason: str, record: dict[str, Any], label: str, scores: list[float]
) -> Failure:
    return Failure(
        "answer",
        f"{name}: {reason}",
        text=record["text"],
        expected={"label": record["label"], "scores": record["scores"]},
        received={"label": label, "scores": scores},
    )


def _difference(
    record: dict[str, Any], scores: list[float], label: str, tolerance: float
) -> str | None:
    if len(scores) != len(record["scores"]):
        return f"{len(scores)} scores but the trainer gave {len(record['scores'])}"
    gap = np.abs(np.subtract(scores, record["scores"]))
    # NaN compares false with everything, so this form refuses it.
    if not bool((gap <= tolerance).all()):
        return (
            f"a score differs from the trainer's by {float(gap.max()):.2e}, more than the "
            f"tolerance of {tolerance:.0e}"
        )
    if label != record["label"] and not _tied(record["scores"], tolerance):
        return f"answers {label!r} but the trainer answered {record['label']!r}"
    return None


def _tied(scores: list[float], tolerance: float) -> bool:
    """Return whether the two best scores are so close that either label is right."""
    best = sorted(scores, reverse=True)[:2]
    return len(best) == 2 and best[0] - best[1] <= 2 * tolerance


def _compare_test_examples(
    protocol: str, answers: dict[str, Any], tolerance: float
) -> list[Failure]:
    """Check that raw examples, with all their columns, get the same answers as their texts."""
    if "test_examples" not in answers or "test_texts" not in answers:
        return []
    ours, theirs = answers["test_examples"]["scores"], answers["test_texts"]["scores"]
    gap = np.abs(np.subtract(ours, theirs)).max(axis=1)
    wrong = int((~(gap <= tolerance)).sum())
    if not wrong:
        return []
    message = (
        f"serving_examples and serving_default disagree on {wrong} of {len(ours)} test examples "
        f"over {_PROTOCOLS.get(protocol, protocol)}"
    )
    return [Failure("answer", message)]


def check_limits(measured: dict[str, Any], limits: Limits) -> list[Failure]:
    """Return a failure for each measurement that is over its limit.

    Args:
        measured: ``load_seconds``, ``peak_memory_mb``, ``p99_ms`` and ``model_size_mb``, as far as
            they are known; an unknown value with a limit is a failure.
        limits: the limits.
    """
    checks = [
        ("load_seconds", limits.max_load_seconds, "the load time is", "s"),
        ("peak_memory_mb", limits.max_memory_mb, "the peak memory is", "MiB"),
        ("p99_ms", limits.max_latency_ms, "the 99th percentile of latency is", "ms"),
        ("model_size_mb", limits.max_size_mb, "the export's size is", "MiB"),
    ]
    failures = []
    for key, limit, words, unit in checks:
        if limit and not measured.get(key, float("inf")) <= limit:
            found = f"{measured[key]:.1f} {unit}" if key in measured else "unknown"
            failures.append(Failure("limit", f"{words} {found}, the limit is {limit:g}"))
    return failures
