"""Chooses, on the machine that serves, between a signature and its bfloat16 twin.

bfloat16 is twice as fast where the processor multiplies it (AVX512_BF16, AMX) and slower where it
does not, so a model may carry ``<key>_bfloat16`` beside ``<key>``, and the worker measures.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from serving.warmup_request import WarmupRequest

SUFFIX = "_bfloat16"
#: Seconds of measurement for each signature that has a twin.
MEASURE_SECONDS = 0.5
#: Fewest rounds, however slow the model.
_FEWEST_ROUNDS = 3
#: The twin is chosen only where it wins clearly.
_CLEARLY_FASTER = 0.95
#: Scores of the twin may differ by this much; labels not at all.
_SCORE_TOLERANCE = 0.02
_RELATIVE_TOLERANCE = 0.05

Run = Callable[[str, Mapping[str, np.ndarray], Sequence[str]], dict[str, np.ndarray]]


def choose(
    precision: str, signatures: Iterable[str], requests: Sequence[WarmupRequest], run: Run
) -> dict[str, str]:
    """Which signature to run for each that has a twin.

    Args:
        precision: "float32", "bfloat16", or "auto", which measures.
        signatures: keys of the model.
        requests: of the warm-up; "auto" keeps float32 where none calls the signature.
        run: runs a signature: (key, inputs, outputs) -> arrays.

    Returns:
        Key to run by key that is asked for; only keys with a twin.
    """
    keys = set(signatures)
    twins = {key: key + SUFFIX for key in sorted(keys) if key + SUFFIX in keys}
    if precision == "float32":
        return {key: key for key in twins}
    if precision == "bfloat16":
        return twins
    chosen = {}
    for key, twin in twins.items():
        asked = [request for request in requests if request.signature == key]
        wins = bool(asked) and _agree(key, twin, asked, run) and _faster(key, twin, asked, run)
        chosen[key] = twin if wins else key
    return chosen


def _agree(key: str, twin: str, requests: Sequence[WarmupRequest], run: Run) -> bool:
    for request in requests:
        expected = run(key, request.inputs, request.outputs)
        actual = run(twin, request.inputs, request.outputs)
        if not all(_alike(expected[alias], actual.get(alias)) for alias in expected):
            return False
    return True


def _alike(expected: np.ndarray, actual: np.ndarray | None) -> bool:
    if actual is None or expected.shape != actual.shape:
        return False
    if expected.dtype.kind != "f":
        return bool(np.array_equal(expected, actual))
    return bool(
        np.allclose(
            actual.astype(np.float32), expected, rtol=_RELATIVE_TOLERANCE, atol=_SCORE_TOLERANCE
        )
    )


def _faster(key: str, twin: str, requests: Sequence[WarmupRequest], run: Run) -> bool:
    """Whether the twin answers the requests clearly faster; the two run alternately."""
    spent: dict[str, list[float]] = {key: [], twin: []}
    end = time.monotonic() + MEASURE_SECONDS
    while len(spent[twin]) < _FEWEST_ROUNDS or time.monotonic() < end:
        for each, seconds in spent.items():
            started = time.perf_counter()
            for request in requests:
                run(each, request.inputs, request.outputs)
            seconds.append(time.perf_counter() - started)
    return statistics.median(spent[twin]) < _CLEARLY_FASTER * statistics.median(spent[key])
