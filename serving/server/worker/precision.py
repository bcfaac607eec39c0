"""Chooses, on the machine that serves, between a signature and its bfloat16 twin.

bfloat16 is twice as fast where the processor multiplies it (AVX512_BF16, AMX) and slower where it
does not, so a model may carry ``<key>_bfloat16`` beside ``<key>``, and the worker measures.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence

import numpy as np

from serving.server.worker.worker_task import WarmupRequest

SUFFIX = "_bfloat16"
#: Seconds of measurement for each signature that has a twin.
MEASURE_SECONDS = 0.5
#: Rounds that should fit in them; requests too slow for it are left out, but for one.
_ROUNDS = 5
#: The twin is chosen only where it wins clearly.
_CLEARLY_FASTER = 0.95
#: Scores of the twin may differ by this much; labels only where the two best scores are as close.
_SCORE_TOLERANCE = 0.02
_RELATIVE_TOLERANCE = 0.05

Run = Callable[[str, Mapping[str, np.ndarray], Sequence[str]], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Choice:
    """What to run.

    Attributes:
        run_as: signature to run by signature that is asked for; only those with a twin.
        measured: time decided, not a setting or answers that differ: on this machine it decides
            the same for every version with this graph.
    """

    run_as: dict[str, str]
    measured: bool = False


def choose(
    precision: str, signatures: Iterable[str], requests: Sequence[WarmupRequest], run: Run
) -> Choice:
    """Which signature to run for each that has a twin.

    Args:
        precision: "float32", "bfloat16", or "auto", which measures.
        signatures: keys of the model.
        requests: of the warm-up; "auto" keeps float32 where none calls the signature. Answers and
            time of the first signature that one calls decide for all: the rest is the same model,
            and a version should be ready soon.
        run: runs a signature: (key, inputs, outputs) -> arrays.
    """
    keys = set(signatures)
    twins = {key: key + SUFFIX for key in sorted(keys) if key + SUFFIX in keys}
    if precision == "bfloat16":
        return Choice(twins)
    plain = Choice({key: key for key in twins})
    called = {request.signature for request in requests}
    first = next((key for key in twins if key in called), None)
    if precision == "float32" or first is None:
        return plain
    asked = [request for request in requests if request.signature == first]
    agreed = _compare(first, twins[first], asked, run)
    if agreed is None:
        return plain
    wins = _faster(first, twins[first], agreed, run)
    return Choice(
        {key: twin if wins and key in called else key for key, twin in twins.items()},
        measured=True,
    )


def requests_to_warm(
    requests: Sequence[WarmupRequest], run_as: Mapping[str, str]
) -> Iterator[WarmupRequest]:
    """The requests, as the signatures that will answer them.

    Args:
        requests: of the warm-up, for signatures as they are asked for or for their twins.
        run_as: of a ``Choice``. A twin that was not chosen is run only for who names it, and is
            left cold.
    """
    asked = {request.signature for request in requests}
    left_cold = {key + SUFFIX for key, chosen in run_as.items() if chosen == key}
    for request in requests:
        key = run_as.get(request.signature, request.signature)
        has_own = key != request.signature and key in asked
        if key not in left_cold and not has_own:
            yield dataclasses.replace(request, signature=key)


def _compare(
    key: str, twin: str, requests: Sequence[WarmupRequest], run: Run
) -> list[WarmupRequest] | None:
    """Requests to measure with, the quickest first; None: the two disagree."""
    for each in (key, twin):  # the first run of a signature prepares it
        run(each, requests[0].inputs, requests[0].outputs)
    spent = []
    for position, request in enumerate(requests):
        started = time.process_time()
        expected = run(key, request.inputs, request.outputs)
        actual = run(twin, request.inputs, request.outputs)
        ties = _near_ties(expected)
        if not all(_alike(expected[alias], actual.get(alias), ties) for alias in expected):
            return None
        spent.append((time.process_time() - started, position))
    chosen: list[WarmupRequest] = []
    left = MEASURE_SECONDS / _ROUNDS
    for seconds, position in sorted(spent):
        left -= seconds
        if chosen and left < 0:
            break
        chosen.append(requests[position])
    return chosen


def _near_ties(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows whose two best scores are all but equal: bool[rows], or bool[] of no rows.

    Either of the two labels is right there, and rounding decides.
    """
    ties = np.zeros(0, bool)
    for scores in outputs.values():
        if scores.dtype.kind == "f" and scores.ndim == 2 and scores.shape[1] > 1:
            best = np.sort(scores.astype(np.float32), axis=1)
            near = best[:, -1] - best[:, -2] <= _SCORE_TOLERANCE
            ties = near if ties.shape != near.shape else ties & near
    return ties


def _alike(expected: np.ndarray, actual: np.ndarray | None, ties: np.ndarray) -> bool:
    if actual is None or expected.shape != actual.shape:
        return False
    if expected.dtype.kind != "f":
        same = expected == actual
        return bool(np.all(same | ties if same.shape == ties.shape else same))
    return bool(
        np.allclose(
            actual.astype(np.float32), expected, rtol=_RELATIVE_TOLERANCE, atol=_SCORE_TOLERANCE
        )
    )


def _faster(key: str, twin: str, requests: Sequence[WarmupRequest], run: Run) -> bool:
    """Whether the twin answers the requests clearly faster; the two run alternately.

    Measured in processor time: while a version loads, others serve, and it must not matter when.
    """
    spent: dict[str, list[float]] = {key: [], twin: []}
    end = time.monotonic() + MEASURE_SECONDS
    while not spent[twin] or time.monotonic() < end:
        for each, seconds in spent.items():
            started = time.process_time()
            for request in requests:
                run(each, request.inputs, request.outputs)
            seconds.append(time.process_time() - started)
    return statistics.median(spent[twin]) < _CLEARLY_FASTER * statistics.median(spent[key])


#: Tells TensorFlow that weights never change, so that it packs those of matrix products once, into
#: oneDNN's own order, instead of in each run. Read once in a process, before the first product
#: (tensorflow/core/util/onednn_env_vars.cc). Constants of a graph need no such hint.
VARIABLE = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"


def freeze_weights(signatures: Iterable[str], environ: MutableMapping[str, str]) -> None:
    """Set ``VARIABLE`` where the second factor of every product is a weight.

    It is in our packed graph, which is known by its signatures in bfloat16. What another graph
    multiplies nobody knows, and the kernels would take any second factor for a weight.

    Args:
        signatures: keys of the model; none has run yet.
        environ: of this process; a value that stands there is kept.
    """
    if any(key.endswith(SUFFIX) for key in signatures):
        environ.setdefault(VARIABLE, "1")
