"""Measurement of version swaps under load: a new version every few seconds, with constant clients.

All versions are the same export with increasing numbers. Uses gRPC, whose responses contain the
version.
"""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving_servers import MODEL_NAME, BertServer, LoadProcess

CLIENTS = 8
#: Seconds before the first swap, whose latencies are the reference for later ones.
WARM_SECONDS = 10.0
#: Number of versions in the folder.
KEPT = 2

#: (sent, answered, version), in seconds of the monotonic clock.
Answer = tuple[float, float, int]


def measure(
    model: Path, base: Path, texts: list[str], minutes: float, interval: float
) -> dict[str, Any]:
    """Push versions under load and measure the latencies.

    Args:
        model: folder of a version.
        base: empty folder to serve from.
        texts: texts to send, one per request.
        minutes: duration of the swaps.
        interval: seconds between two pushes.

    Returns:
        The result of ``summarise``, and ``memory_mb`` of front process and zygote at each push.
    """
    push(model, base, 1)
    swaps = max(1, int(minutes * 60 / interval))
    memory: list[float] = []
    pushed: dict[int, float] = {}
    with LoadProcess() as load, BertServer(base) as server:
        order = {
            "protocol": "grpc",
            "port": server.grpc_port,
            "path": MODEL_NAME,
            "texts": [[text] for text in texts],
        }
        load.ask(order | {"clients": CLIENTS, "seconds": 2.0})  # warms up the load generator
        load.send(order | {"clients": CLIENTS, "seconds": WARM_SECONDS + (swaps + 2) * interval})
        next_push = time.monotonic() + WARM_SECONDS
        for version in range(2, swaps + 2):
            time.sleep(max(0.0, next_push - time.monotonic()))
            next_push += interval
            memory.append(round(server.memory() / 2**20, 1))
            pushed[version] = time.monotonic()
            push(model, base, version)
        result = load.receive()
    summary = summarise([tuple(answer) for answer in result["answers"]], pushed)
    failures = result["failures"]
    return summary | {
        "failed": len(failures),
        "failure": failures[0] if failures else "",
        "memory_mb": memory,
    }


def push(model: Path, base: Path, version: int) -> None:
    """Add a version atomically, like the Pusher, and delete the oldest one."""
    part = base / f"{version}.part"
    shutil.copytree(model, part, copy_function=os.link)
    os.rename(part, base / str(version))
    shutil.rmtree(base / str(version - KEPT), ignore_errors=True)


def summarise(answers: Sequence[Answer], pushed: dict[int, float]) -> dict[str, Any]:
    """Summarise the latencies that the clients measured.

    Args:
        answers: all responses.
        pushed: version -> time of its push.

    Returns:
        Latencies in milliseconds: ``warm`` before the first swap, ``loading`` of requests between
        a push and the first response of that version, ``first`` of the first response of each
        version, and ``first_round`` of the slowest of its first responses, one per client. Also
        ``flips``, the number of versions that responded, and the seconds from push to response.
    """
    start = min(pushed.values())
    by_version: dict[int, list[Answer]] = {}
    for answer in sorted(answers, key=lambda answer: answer[1]):
        by_version.setdefault(answer[2], []).append(answer)
    firsts = {version: by_version[version][:CLIENTS] for version in pushed if version in by_version}
    spans = [(pushed[version], own[0][1]) for version, own in firsts.items()]
    return {
        "answers": len(answers),
        "flips": len(firsts),
        "seconds_to_flip": _spread([end - begin for begin, end in spans]),
        "warm": _spread([_ms(each) for each in answers if each[1] < start]),
        "loading": _spread(
            [_ms(each) for each in answers if any(begin <= each[0] < end for begin, end in spans)]
        ),
        "first": _spread([_ms(own[0]) for own in firsts.values()]),
        "first_round": _spread([max(map(_ms, own)) for own in firsts.values()]),
    }


def _ms(answer: Answer) -> float:
    return (answer[1] - answer[0]) * 1000


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, 99th percentile and maximum, or nothing without values."""
    ranked = sorted(values)
    if not ranked:
        return {}
    at = [ranked[min(len(ranked) - 1, int(len(ranked) * share))] for share in (0.5, 0.99)]
    return {
        name: round(x, 2) for name, x in zip(("p50", "p99", "max"), [*at, ranked[-1]], strict=True)
    }
