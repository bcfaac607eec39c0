"""Compare the exported model with transformers' pipeline and ONNX Runtime on the same texts.

Each side classifies texts, including tokenisation, in its own process. The sides alternate batch by
batch, always with new texts, so that other load on the machine affects all alike. The result is the
ratio of CPU times. The heads are untrained, because predictions do not affect the speed.

    python -m benchmarks.serving --rivals-python /tmp/rivals/bin/python --json serving.json

Install ``benchmarks/requirements-serving.txt`` in the environment of the other sides; without
``--rivals-python``, only our sides run. Long texts come from ``imdb_5k.csv`` in the folder
``BERT_REAL_DATA``. Short texts come from the bundled sample, as do all texts without that folder.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.train_step import SIZES, checkpoint_folder, useful_flops

ROOT = Path(__file__).resolve().parent.parent
#: Mix of texts -> (long or short, texts per batch, batches per turn).
MIXES = {"full texts, 8": (True, 8, 3), "short, 8": (False, 8, 8), "short, 32": (False, 32, 2)}
OURS = {"ours float32": "serving_default", "ours bfloat16": "serving_default_bfloat16"}
RIVALS = ("transformers pipeline", "ONNX Runtime float32", "ONNX Runtime int8")


def main() -> None:
    """Run the comparison and print the result."""
    arguments = _parse_arguments()
    folder = Path(tempfile.mkdtemp())
    mixes = {name: _take_texts(*mix, arguments.rounds + 1) for name, mix in MIXES.items()}
    texts = folder / "texts.json"
    texts.write_text(json.dumps(mixes))
    model = arguments.model or str(folder / "model")
    lengths = _export(arguments, None if arguments.model else model, mixes)
    common = {"texts": str(texts), "threads": arguments.threads}
    sides = {
        name: _start([sys.executable, "-m", "benchmarks.serving_session"], common | options)
        for name, options in ((n, {"model": model, "signature": s}) for n, s in OURS.items())
    }
    if arguments.rivals_python:
        checkpoint = str(checkpoint_folder(arguments.encoder))
        common |= {"folder": checkpoint, "max_length": arguments.max_length}
        command = [arguments.rivals_python, str(ROOT / "benchmarks" / "serving_rivals.py")]
        sides |= {rival: _start(command, common | {"rival": rival}) for rival in RIVALS}
    turns = _take_turns(sides, arguments.rounds)
    peaks = {name: _turn(sides[name], "gemm", 0)["flops_per_cpu_second"] for name in OURS}
    for side in sides.values():
        side.kill()
    config = json.loads((checkpoint_folder(arguments.encoder) / "config.json").read_text())
    _report(arguments, turns, lengths, peaks, [config[name] for name in SIZES])


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="minilm", help="or a Hugging Face folder")
    parser.add_argument("--model", help="an exported model; default: a new untrained one")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rivals-python", help="python of the other environment")
    parser.add_argument("--json", help="append the result to this file")
    return parser.parse_args()


def _take_texts(long: bool, size: int, batches: int, rounds: int) -> list[list[list[str]]]:
    """Return texts by round and batch, without repeating a text while others are left."""
    real = os.environ.get("BERT_REAL_DATA")
    sample = ROOT / "data" / "sample" / "reviews.csv"
    path = Path(real, "imdb_5k.csv") if long and real else sample
    with open(path, encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    needed = size * batches * rounds
    texts = (texts * -(-needed // len(texts)))[:needed]
    grouped = [texts[i : i + size] for i in range(0, needed, size)]
    return [grouped[i : i + batches] for i in range(0, len(grouped), batches)]


def _export(
    arguments: argparse.Namespace, directory: str | None, mixes: dict[str, Any]
) -> dict[str, list[list[int]]]:
    """Export an untrained classifier if requested, and return the texts' token counts by round."""
    import tensorflow as tf

    from modules.contract.hparams import HParams, TextSettings
    from modules.encoders.names import load_encoder
    from modules.export import signatures
    from modules.network import model
    from modules.preprocessing import tokenize

    encoder = load_encoder(arguments.encoder)
    settings = TextSettings(arguments.encoder, arguments.max_length)
    if directory:
        classifier = model.build_classifier(encoder, 2, HParams())
        labels, some = ["negative", "positive"], mixes["short, 8"][0][0]
        signatures.export(classifier, encoder, settings, None, labels, directory, {}, some)

    def count(batches: list[list[str]]) -> list[int]:
        texts = tf.constant([text for batch in batches for text in batch])
        return tokenize(texts, settings, encoder).row_lengths().numpy().tolist()

    return {name: [count(batches) for batches in rounds] for name, rounds in mixes.items()}


def _start(command: list[str], options: dict[str, Any]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=ROOT,
    )


def _take_turns(
    sides: dict[str, subprocess.Popen[str]], rounds: int
) -> dict[str, list[dict[str, dict[str, float]]]]:
    """Return times by mix, round and side, without the first round, which is a warm-up."""
    turns: dict[str, list[dict[str, dict[str, float]]]] = {mix: [] for mix in MIXES}
    for index in range(rounds + 1):
        order = list(sides) if index % 2 else list(reversed(sides))
        for mix in MIXES:
            times = {name: _turn(sides[name], mix, index) for name in order}
            if index:
                turns[mix].append(times)
    return turns


def _turn(side: subprocess.Popen[str], mix: str, index: int) -> dict[str, float]:
    assert side.stdin
    assert side.stdout
    side.stdin.write(json.dumps({"mix": mix, "round": index}) + "\n")
    side.stdin.flush()
    for line in side.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise SystemExit(f"{side.args[0]} exited early with code {side.wait()}")


def _report(
    arguments: argparse.Namespace,
    turns: dict[str, list[dict[str, dict[str, float]]]],
    lengths: dict[str, list[list[int]]],
    peaks: dict[str, float],
    sizes: list[int],
) -> None:
    result: dict[str, Any] = {
        "max_length": arguments.max_length,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "load_average": os.getloadavg()[0],
        "gemm_peak_gflops": {name: round(peak / 1e9, 1) for name, peak in peaks.items()},
        "mixes": {},
    }
    for mix, rounds in turns.items():
        counts = lengths[mix][1:]
        # A training step takes three times the FLOPs of a forward pass.
        flops = sum(useful_flops(count, *sizes) for count in counts) / 3
        texts = sum(map(len, counts))
        result["mixes"][mix] = {
            "tokens_per_text": round(sum(map(sum, counts)) / texts, 1),
            "sides": {side: _speed(rounds, side, texts, flops, peaks) for side in rounds[0]},
        }
    _print_table(result)
    print(json.dumps(result, indent=2))
    if arguments.json:
        with open(arguments.json, "a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")


def _speed(
    rounds: list[dict[str, dict[str, float]]],
    side: str,
    texts: int,
    flops: float,
    peaks: dict[str, float],
) -> dict[str, Any]:
    """Return one side's speed on one mix: over all rounds, and its ratios per round."""
    seconds = sum(times[side]["cpu_seconds"] for times in rounds)
    speed: dict[str, Any] = {"texts_per_cpu_second": round(texts / seconds, 1)}
    for rival in RIVALS:
        if rival in rounds[0]:
            ratios = sorted(
                times[rival]["cpu_seconds"] / times[side]["cpu_seconds"] for times in rounds
            )
            quarter = len(ratios) // 4
            speed[f"times {rival}"] = {
                "median": round(statistics.median(ratios), 2),
                "quartiles": [round(ratios[quarter], 2), round(ratios[-1 - quarter], 2)],
            }
    if side in peaks:
        speed["useful_gflops"] = round(flops / seconds / 1e9, 1)
        speed["share_of_gemm_peak"] = round(flops / seconds / peaks[side], 3)
    return speed


def _print_table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"CPU time, {result['threads']} thread(s), one alternating run")
    for name in ("texts", "side", "texts/CPU s", *(f"x {r}" for r in RIVALS), "of GEMM peak"):
        table.add_column(name, justify="left" if name in ("texts", "side") else "right")
    for mix, measured in result["mixes"].items():
        for side, speed in measured["sides"].items():
            ratios = [speed.get(f"times {rival}", {}).get("median") for rival in RIVALS]
            share = speed.get("share_of_gemm_peak")
            table.add_row(
                mix,
                side,
                f"{speed['texts_per_cpu_second']:.1f}",
                *(f"{ratio:.2f}" if ratio else "" for ratio in ratios),
                f"{share:.0%}" if share else "",
            )
        table.add_section()
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
