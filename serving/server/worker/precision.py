"""Choice between a signature and its bfloat16 twin, made on the machine that serves.

bfloat16 is twice as fast on processors that multiply it (AVX512_BF16, AMX) and slower on others.
A model may therefore have a signature ``<key>_bfloat16`` next to ``<key>``, and the worker measures
both.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence

import numpy as np

from serving.server.worker.worker_task import WarmupRequest

SUFFIX = "_bfloat16"
#: Duration of the measurement.
MEASURE_SECONDS = 0.5
#: Rounds that should fit in it. Slower requests are skipped, except one.
_ROUNDS = 5
#: The twin is chosen only if it takes less than this fraction of the time.
_CLEARLY_FASTER = 0.95
#: Allowed difference between scores. Labels may differ only if the two best scores are as close.
_SCORE_TOLERANCE = 0.02
_RELATIVE_TOLERANCE = 0.05

Run = Callable[[str, Mapping[str, np.ndarray], Sequence[str]], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Choice:
    """The chosen signatures.

    Attributes:
        run_as: signature to run by requested signature, for those with a twin.
        measured: whether the choice was measured, rather than given by a setting or by outputs that
            differ. On this machine, it then applies to every version with the same graph.
    """

    run_as: dict[str, str]
    measured: bool = False


def choose(
    precision: str, signatures: Iterable[str], requests: Sequence[WarmupRequest], run: Run
) -> Choice:
    """Choose the signature to run for each that has a twin.

    Args:
        precision: "float32", "bfloat16", or "auto", which measures.
        signatures: keys of the model's signatures.
        requests: warm-up requests; "auto" keeps float32 for signatures that no request calls. To
            save time, only the first called signature is compared and measured; the others share
            its model.
        run: function that runs a signature: (key, inputs, outputs) -> arrays.
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
    """Yield the warm-up requests, addressed to the signatures that will run.

    Args:
        requests: warm-up requests for signatures or their twins.
        run_as: ``Choice.run_as``. A twin that was not chosen is not warmed: it runs only for
            callers that name it.
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
    """Return the requests to measure, fastest first; None if the outputs differ."""
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
    """Return the rows whose two best scores are almost equal: bool[rows], or bool[0].

    Rounding decides between the two labels of such a row, and either is acceptable.
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
    """Return whether the twin is clearly faster; the two run alternately.

    Processor time is measured, so that the load of serving other versions does not influence it.
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


#: Tells TensorFlow that weights never change, so that it packs those of matrix products once, in
#: oneDNN's layout, instead of in each run. A process reads it once, before the first product
#: (tensorflow/core/util/onednn_env_vars.cc). Constants of a graph do not need it.
VARIABLE = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"


def freeze_weights(signatures: Iterable[str], environ: MutableMapping[str, str]) -> None:
    """Set ``VARIABLE`` if the second factor of every matrix product is a weight.

    This holds for our packed graph, which has signatures in bfloat16. It is unknown for other
    graphs, and the kernels would treat any second factor as a weight.

    Args:
        signatures: keys of the model's signatures, none of which has run yet.
        environ: environment of this process; an existing value is kept.
    """
    if any(key.endswith(SUFFIX) for key in signatures):
        environ.setdefault(VARIABLE, "1")
