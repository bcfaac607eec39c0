"""Time each component of the pipeline, to compare model work with framework overhead.

    python -m benchmarks.pipeline [--data FILE.csv] [--rows 600] [--epochs 0] [--repeats 3]

Runs the whole graph cold (with an empty pipeline root) and fully cached, in alternation, and prints
the median seconds of each component. With ``--epochs 0`` the Trainer exports the untrained
classifier, so that only overhead is measured: imports, Beam, TFDV, TFT, TFMA, export, validation.
"""

import argparse
import csv
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.config import load
from runners.local import run as local

START = "start (interpreter, imports, compile)"


def main() -> int:
    """Run the benchmark and print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data/sample/reviews.csv", help="CSV with text,label")
    parser.add_argument("--rows", type=int, default=600, help="number of rows to use")
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "rows.csv"
        rows = _take_rows(Path(arguments.data), data, arguments.rows)
        measured: dict[str, list[dict[str, float]]] = {"cold": [], "cached": []}
        for repeat in range(arguments.repeats):
            root = Path(folder) / f"run{repeat}"
            for kind in measured:
                measured[kind].append(_run(data, root, arguments.epochs))
    _print(measured, rows, arguments)
    return 0


def _take_rows(source: Path, target: Path, count: int) -> int:
    with source.open(newline="", encoding="utf-8") as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(count), strict=False)]
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["text", "label"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def _run(data: Path, root: Path, epochs: int) -> dict[str, float]:
    """Run the pipeline and return the seconds per component and before the first one."""
    config = load(
        assignments=[
            f"data.path={data}",
            f"pipeline.root={root}/root",
            f"pusher.base_directory={root}/models",
            f"trainer.epochs={epochs}",
            "evaluator.floors=[]",
            "evaluator.margin=-1",
        ]
    )
    seconds: dict[str, float] = {}

    def record(event: local.Event) -> None:
        if event["event"] == "node_finished":
            seconds[event["node"]] = event["seconds"]

    outcome = local.run(config, on_event=record)
    if outcome.state != "succeeded":
        sys.exit(f"the run failed: {outcome.error}; see {outcome.log}")
    return {START: outcome.seconds - sum(seconds.values()), **seconds, "all": outcome.seconds}


def _print(
    measured: dict[str, list[dict[str, float]]], rows: int, arguments: argparse.Namespace
) -> None:
    medians = {
        kind: {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        for kind, runs in measured.items()
    }
    table = Table(title=f"{rows} rows, {arguments.epochs} epochs, median of {arguments.repeats}")
    table.add_column("component")
    for kind in medians:
        table.add_column(f"{kind}, s", justify="right")
    for name in medians["cold"]:
        table.add_row(name, *(f"{medians[kind][name]:.1f}" for kind in medians))
    Console().print(table)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"machine": machine, "python": platform.python_version(), **medians}))


if __name__ == "__main__":
    sys.exit(main())
