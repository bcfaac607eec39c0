"""Time ExampleGen with a new feedback span, with and without the parse cache.

    python -m benchmarks.ingestion DATA.csv [--spans 3] [--rows 500] [--repeats 3]

Each repeat runs in a new process. It reads the data with an empty cache first, and then, in
alternating order, the data with ``--spans`` old spans and a new one: once with everything except
the new span cached ("with"), once without a cache ("without"). The time is that of the executor
(reading, splitting and writing) without imports. Outputs are compared byte by byte.
"""

import argparse
import csv
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

_KINDS = ("first run", "new span, with the cache", "new span, without")


def main() -> int:
    """Run the benchmark and print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="CSV with text,label")
    parser.add_argument("--spans", type=int, default=3, help="number of old spans")
    parser.add_argument("--rows", type=int, default=500, help="rows per span")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--once", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        print(json.dumps(_measure(arguments, Path(arguments.once))))
        return 0
    measured = [_in_own_process() for _ in range(arguments.repeats)]
    if len({each["without"]["digest"] for each in measured}) != 1 or any(
        each["with"]["digest"] != each["without"]["digest"] for each in measured
    ):
        sys.exit("the outputs differ")
    _print(measured, arguments)
    return 0


def _in_own_process() -> dict[str, dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.ingestion", *sys.argv[1:], "--once", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    found: dict[str, dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(arguments: argparse.Namespace, folder: Path) -> dict[str, dict[str, object]]:
    spans, cache = folder / "feedback", folder / "cache"
    _execute(arguments.data, folder / "warm", "", "")  # imports modules on first use
    first = _execute(arguments.data, folder / "first", str(spans), str(cache))
    for number in range(1, arguments.spans + 1):
        _write_span(spans, number, arguments.rows)
    _execute(arguments.data, folder / "before", str(spans), str(cache))
    _write_span(spans, arguments.spans + 1, arguments.rows)
    found = {"first": first}
    order = [("with", str(cache)), ("without", "")]
    # The order alternates between processes.
    for name, directory in order if os.getpid() % 2 else order[::-1]:
        found[name] = _execute(arguments.data, folder / name, str(spans), directory)
    return found


def _write_span(spans: Path, number: int, rows: int) -> None:
    folder = spans / f"span-{number}"
    folder.mkdir(parents=True)
    with (folder / "feedback.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(rows):
            text = f"Feedback {row} of span {number}: " + "it was not what the page said. " * 20
            writer.writerow([text, row % 2])


def _execute(data: str, uri: Path, spans: str, cache: str) -> dict[str, object]:
    from tfx.types import standard_artifacts

    from components.example_gen import make_example_gen
    from components.ingestion.executor import Executor
    from pipeline.config import load

    node = make_example_gen(
        paths=[os.path.abspath(data)],
        split={"train": 8, "eval": 1, "test": 1},
        spans_directory=spans,
        cache_directory=cache,
        code_digest="0",
    )
    examples = standard_artifacts.Examples()
    examples.uri = str(uri)
    executor = Executor(Executor.Context(beam_pipeline_args=load(environ={}).beam_arguments()))
    start, cpu_start = time.perf_counter(), time.process_time()
    executor.Do({}, {"examples": [examples]}, dict(node.exec_properties))
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    whole = hashlib.sha256()
    for path in sorted(uri.rglob("*")):
        if path.is_file():
            whole.update(str(path.relative_to(uri)).encode() + path.read_bytes())
    return {"seconds": seconds, "cpu seconds": cpu_seconds, "digest": whole.hexdigest()}


def _print(measured: list[dict[str, dict[str, object]]], arguments: argparse.Namespace) -> None:
    names = dict(zip(("first", "with", "without"), _KINDS, strict=True))
    units = ("seconds", "cpu seconds")
    found = {
        unit: {key: [float(str(each[key][unit])) for each in measured] for key in names}
        for unit in units
    }
    title = f"{arguments.spans} spans of {arguments.rows} rows, median of {arguments.repeats}"
    table = Table("ExampleGen", *units, title=title)
    for key, name in names.items():
        table.add_row(name, *(f"{statistics.median(found[unit][key]):.1f}" for unit in units))
    Console().print(table)
    ratios = {
        unit: round(
            statistics.median(
                slow / fast for fast, slow in zip(values["with"], values["without"], strict=True)
            ),
            2,
        )
        for unit, values in found.items()
    }
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    facts = {"machine": machine, "python": platform.python_version(), "without over with": ratios}
    print(json.dumps(facts | found))


if __name__ == "__main__":
    sys.exit(main())
