"""Compare ``bert serve`` with transformers' pipeline behind Flask, including clients and network.

Both servers run in their own processes with default settings. A third process sends the same texts
to each of them in turn, with one text or ``--texts-per-request`` texts per request. Each client
sends its next request after the response to the last one.

    python -m benchmarks.serving_server --rivals-python /tmp/rivals/bin/python --model VERSION
    python -m benchmarks.serving_server --swap --model VERSION

Install ``benchmarks/requirements-serving.txt`` in the environment of the other side; without
``--rivals-python``, only our server runs. Full texts come from ``imdb_5k.csv`` in the folder
``BERT_REAL_DATA``. Short texts come from the bundled sample, as do all texts without that folder.
``--swap`` repeatedly pushes new versions instead; see ``benchmarks.serving_swap``.
"""

import argparse
import csv
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import serving_swap
from benchmarks.serving_servers import MODEL_NAME, BertServer, FlaskServer, LoadProcess
from benchmarks.train_step import checkpoint_folder

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = (1, 8, 32)
FLASK, REST, GRPC = "Flask", "REST", "gRPC"
#: Texts of a mix, which are repeated.
TEXTS = 512


def main() -> None:
    """Run the comparison or the swaps and print the result."""
    arguments = _parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.swap:
            result = serving_swap.measure(
                Path(arguments.model),
                Path(folder),
                read_texts(full=False),
                arguments.minutes,
                arguments.interval,
            )
        else:
            result = _compare(arguments, Path(folder))
    result["load_average"] = os.getloadavg()[0]
    print(json.dumps(result, indent=2))
    if arguments.json:
        with open(arguments.json, "a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of an exported version")
    parser.add_argument("--rivals-python", help="python of the other environment")
    parser.add_argument("--encoder", default="minilm", help="encoder of the other side")
    parser.add_argument("--max-length", type=int, default=256, help="tokens, on the other side")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4, help="seconds per turn")
    parser.add_argument("--texts-per-request", type=int, default=1)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--swap", action="store_true", help="measure the swap of versions")
    parser.add_argument("--minutes", type=float, default=2, help="duration of the swaps")
    parser.add_argument("--interval", type=float, default=5, help="seconds between two pushes")
    parser.add_argument("--json", help="append the result to this file")
    return parser.parse_args()


def read_texts(full: bool) -> list[str]:
    """Return the texts to classify, full or short ones."""
    real = os.environ.get("BERT_REAL_DATA")
    sample = ROOT / "data" / "sample" / "reviews.csv"
    path = Path(real, "imdb_5k.csv") if full and real else sample
    with open(path, encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)][:TEXTS]


def read_mixes(texts_per_request: int = 1) -> dict[str, list[list[str]]]:
    """Return the texts of each request by mix, short and full."""
    return {
        mix: in_requests(read_texts(full), texts_per_request)
        for mix, full in (("short", False), ("full", True))
    }


def in_requests(texts: Sequence[str], size: int) -> list[list[str]]:
    """Return the texts in lists of the given size, without the remainder."""
    return [list(texts[start : start + size]) for start in range(0, len(texts) - size + 1, size)]


def _compare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    (folder / "1").symlink_to(Path(arguments.model).resolve())
    size = arguments.texts_per_request
    texts = read_mixes(size)
    with LoadProcess() as load, BertServer(folder) as ours:
        sides: dict[str, dict[str, Any]] = {
            REST: {
                "protocol": "rest",
                "port": ours.rest_port,
                "path": f"/v1/models/{MODEL_NAME}:predict",
            },
            GRPC: {"protocol": "grpc", "port": ours.grpc_port, "path": MODEL_NAME},
        }
        if not arguments.rivals_python:
            return _report(_take_turns(arguments, load, ours, sides, texts), size)
        options = {
            "folder": str(checkpoint_folder(arguments.encoder)),
            "max_length": arguments.max_length,
        }
        with FlaskServer(arguments.rivals_python, options) as flask:
            sides[FLASK] = {"protocol": "rest", "port": flask.port, "path": "/predict"}
            return _report(_take_turns(arguments, load, ours, sides, texts), size)


def _take_turns(
    arguments: argparse.Namespace,
    load: LoadProcess,
    ours: BertServer,
    sides: dict[str, dict[str, Any]],
    texts: dict[str, list[list[str]]],
) -> list[dict[str, Any]]:
    """Return the results of each turn, without the first round, which is a short warm-up."""
    turns = []
    for index in range(arguments.rounds + 1):
        order = list(sides) if index % 2 else list(reversed(sides))
        for mix in texts:
            for clients in arguments.clients:
                for side in order:
                    seconds = arguments.seconds if index else 1.0
                    before = ours.cpu_seconds()
                    answer = load.ask(
                        sides[side] | {"clients": clients, "seconds": seconds, "texts": texts[mix]}
                    )
                    after = ours.cpu_seconds()
                    turn = {"mix": mix, "clients": clients, "side": side, "round": index}
                    turn |= summarise_turn(answer)
                    if side != FLASK:
                        turn["front_seconds"] = after.front - before.front
                        turn["model_seconds"] = after.workers - before.workers
                    if index:
                        turns.append(turn)
    return turns


def summarise_turn(answer: dict[str, Any]) -> dict[str, Any]:
    """Summarise one turn. Speed and ``load_share`` cover the time until the last response.

    Args:
        answer: result of the load process.

    Raises:
        SystemExit: all requests failed.
    """
    answers = answer["answers"]
    if not answers:
        raise SystemExit(f"no request was answered: {answer['failures'][:1]}")
    seconds = max(done for _, done, _ in answers) - min(sent for sent, _, _ in answers)
    return {
        "requests_per_second": len(answers) / seconds,
        "milliseconds": [(done - sent) * 1000 for sent, done, _ in answers],
        "failures": len(answer["failures"]),
        "failure": answer["failures"][0] if answer["failures"] else "",
        "load_share": answer["cpu_seconds"] / seconds,
    }


def _report(turns: Sequence[dict[str, Any]], texts_per_request: int) -> dict[str, Any]:
    rows = summarise(turns)
    _print_table(rows, texts_per_request)
    return {"texts_per_request": texts_per_request, "cells": rows}


def summarise(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Summarise the turns by mix, number of clients and side, with the median ratio to Flask."""
    cells: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for turn in turns:
        cells.setdefault((turn["mix"], turn["clients"], turn["side"]), []).append(turn)
    rows = []
    for (mix, clients, side), own in cells.items():
        latencies = [value for turn in own for value in turn["milliseconds"]]
        p50, p99 = percentile(latencies, 50), percentile(latencies, 99)
        row = {
            "mix": mix,
            "clients": clients,
            "side": side,
            "requests_per_second": percentile([t["requests_per_second"] for t in own], 50),
            "p50_ms": p50,
            "p99_ms": p99,
            "p99_by_p50": p99 / p50,
            "failures": sum(turn["failures"] for turn in own),
            "failure": next((turn["failure"] for turn in own if turn["failure"]), ""),
            "load_share": sum(turn["load_share"] for turn in own) / len(own),
        }
        if flask := cells.get((mix, clients, FLASK)):
            by_round = {turn["round"]: turn["requests_per_second"] for turn in flask}
            ratios = [turn["requests_per_second"] / by_round[turn["round"]] for turn in own]
            row["times_flask"] = percentile(ratios, 50)
        if side != FLASK:
            model = sum(turn["model_seconds"] for turn in own)
            row["overhead"] = sum(turn["front_seconds"] for turn in own) / model
            row["front_us"] = sum(turn["front_seconds"] for turn in own) / len(latencies) * 1e6
            row["model_us"] = model / len(latencies) * 1e6
        rows.append(row)
    return rows


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of the values that at least ``percent`` of them do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1).__int__()]


def _print_table(rows: Sequence[dict[str, Any]], texts_per_request: int) -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"texts per request: {texts_per_request}, in alternation"
    table = Table(title=title, caption=" ".join(sys.argv[1:]))
    for name in ("texts", "clients", "side", "requests/s", "x Flask", "p50 ms", "p99 ms"):
        table.add_column(name, justify="left" if name in ("texts", "side") else "right")
    for name in ("p99/p50", "front us", "overhead", "load CPU", "failed"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row["mix"],
            str(row["clients"]),
            row["side"],
            f"{row['requests_per_second']:.1f}",
            f"{row['times_flask']:.2f}" if "times_flask" in row else "",
            f"{row['p50_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['p99_by_p50']:.2f}",
            f"{row['front_us']:.0f}" if "front_us" in row else "",
            f"{row['overhead']:.1%}" if "overhead" in row else "",
            f"{row['load_share']:.1%}",
            str(row["failures"]),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
