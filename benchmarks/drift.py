"""Measure how often drift is detected in traffic with and without drift.

    bert run --data imdb_5k.csv --set trainer.epochs=1 --set pusher.base_directory=MODELS
    bert serve --model_base_path MODELS &
    python -m benchmarks.drift --models MODELS --train imdb_5k.csv --unseen imdb_25k.csv \
        --other news20_train.csv --cache drift-cache

The served model describes every text once. References and windows are then sampled from the
descriptions, and each window is checked as in ``bert drift``. The descriptions are stored in
``--cache``, so that a second call needs no server.
"""

import argparse
import dataclasses
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drift_texts import make_pools
from serving.client import Client, read_labels
from serving.monitoring.check import TESTS, DriftReport, check
from serving.monitoring.describe import describe
from serving.monitoring.descriptions import Descriptions, concatenate
from serving.monitoring.estimate import estimate_accuracy
from serving.monitoring.reference import load_descriptions, save_descriptions
from serving.rollout.intervals import wilson

Array = np.ndarray[Any, np.dtype[Any]]

#: Name of the traffic without drift.
UNDRIFTED = "films"
#: Shares of a window from another domain, and shares of its more frequent class.
POST_SHARES = (0.1, 0.2)
CLASS_SHARES = (0.6, 0.7, 0.8)


@dataclasses.dataclass(frozen=True)
class Described:
    """Descriptions of texts of one kind.

    Attributes:
        texts: the descriptions.
        true: int[texts], index of the true label; -1 if the model does not have that label.
    """

    texts: Descriptions
    true: Array

    def take(self, rows: Array) -> "Described":
        """Return the given rows."""
        return Described(self.texts.take(rows), self.true[rows])


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of one window.

    Attributes:
        report: report of the drift check.
        accuracy: accuracy of the predictions; None if the model does not have the true labels.
        estimated: accuracy estimated without labels.
    """

    report: DriftReport
    accuracy: float | None
    estimated: float


#: Samples a window: (random generator, films that are not in the reference) -> texts.
Draw = Callable[[np.random.Generator, Described], Described]


def main() -> None:
    """Describe and check the texts, and print one JSON line per kind of traffic."""
    arguments = _parse_arguments()
    labels = read_labels(arguments.models)
    pools = _described_pools(arguments, labels)
    films = pools.pop("films")
    for name, draw in make_traffic(pools, arguments.window).items():
        if arguments.traffic and name not in arguments.traffic:
            continue
        rounds = arguments.null_rounds if name == UNDRIFTED else arguments.rounds
        if not rounds:
            continue
        outcomes = [
            measure(films, draw, labels, arguments.reference, arguments.rate, seed)
            for seed in (zlib.crc32(f"{name} {number}".encode()) for number in range(rounds))
        ]
        print(json.dumps({"traffic": name, **summarise(outcomes)}), flush=True)


def make_traffic(pools: Mapping[str, Described], window: int) -> dict[str, Draw]:
    """Return kinds of traffic by name, the one without drift first.

    Args:
        pools: drifted texts by kind, including "posts".
        window: texts per window.
    """

    def films(generator: np.random.Generator, rest: Described) -> Described:
        return rest.take(_some(generator, np.arange(len(rest.true)), window))

    def drifted(pool: Described, share: float) -> Draw:
        def draw(generator: np.random.Generator, rest: Described) -> Described:
            count = min(round(window * share), len(pool.true))
            new = pool.take(_some(generator, np.arange(len(pool.true)), count))
            old = rest.take(
                _some(generator, np.arange(len(rest.true)), round(count / share) - count)
            )
            return _join(new, old)

        return draw

    def mixed(share: float) -> Draw:
        def draw(generator: np.random.Generator, rest: Described) -> Described:
            first, others = np.flatnonzero(rest.true == 0), np.flatnonzero(rest.true != 0)
            count = round(window * share)
            rows = [_some(generator, first, count), _some(generator, others, window - count)]
            return rest.take(np.concatenate(rows))

        return draw

    kinds = {UNDRIFTED: films}
    kinds |= {name: drifted(pool, 1.0) for name, pool in pools.items()}
    kinds |= {f"films, {share:.0%} posts": drifted(pools["posts"], share) for share in POST_SHARES}
    return kinds | {f"films, classes {share:.0%}": mixed(share) for share in CLASS_SHARES}


def measure(
    films: Described, draw: Draw, labels: Sequence[str], reference: int, rate: float, seed: int
) -> Outcome:
    """Sample a reference and a window, and check the window for drift."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(films.true))
    held_out, rest = films.take(order[:reference]), films.take(order[reference:])
    window = draw(generator, rest)
    report = check(held_out.texts, window.texts, labels, false_alarm_rate=rate, seed=seed)
    estimate = estimate_accuracy(
        held_out.texts.scores, held_out.texts.answers == held_out.true, window.texts.scores, 0.95
    )
    known = bool(np.all(window.true >= 0))
    accuracy = float(np.mean(window.texts.answers == window.true)) if known else None
    return Outcome(report, accuracy, estimate.accuracy)


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the share of windows with drift, also by test, and the error of the estimates."""
    raised = sum(outcome.report.raised for outcome in outcomes)
    low, high = wilson(raised, len(outcomes), 0.95)
    by_test = {
        test.name: np.mean([outcome.report.tests[index].raised for outcome in outcomes])
        for index, test in enumerate(TESTS)
    }
    effects = {
        test.name: np.median([outcome.report.tests[index].statistic for outcome in outcomes])
        for index, test in enumerate(TESTS)
    }
    significant = {
        test.name: np.mean(
            [o.report.tests[index].p <= o.report.false_alarm_rate / len(TESTS) for o in outcomes]
        )
        for index, test in enumerate(TESTS)
    }
    pairs = [(o.accuracy, o.estimated) for o in outcomes if o.accuracy is not None]
    result: dict[str, Any] = {
        "windows": len(outcomes),
        "window_texts": outcomes[0].report.window_texts,
        "raised": raised / len(outcomes),
        "raised_low": low,
        "raised_high": high,
        "estimated": np.mean([outcome.estimated for outcome in outcomes]),
    }
    if pairs:
        result["accuracy"] = np.mean([accuracy for accuracy, _ in pairs])
        result["estimate_off"] = np.mean([abs(accuracy - guess) for accuracy, guess in pairs])
    result |= {"raised_by": by_test, "significant": significant, "median_effect": effects}
    return _rounded(result)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return round(float(value), 4) if isinstance(value, float) else value


def _some(generator: np.random.Generator, rows: Array, count: int) -> Array:
    return generator.choice(rows, size=count, replace=False)


def _join(first: Described, second: Described) -> Described:
    texts = concatenate([first.texts, second.texts])
    return Described(texts, np.concatenate([first.true, second.true]))


def _described_pools(arguments: argparse.Namespace, labels: Sequence[str]) -> dict[str, Described]:
    """Return the pools with descriptions from the cache, or else from the server."""
    pools = make_pools(
        arguments.train, arguments.unseen, arguments.other, arguments.films, arguments.drifted
    )
    index = {label: position for position, label in enumerate(labels)}
    described = {}
    for name, pool in pools.items():
        path = arguments.cache / f"{zlib.crc32(repr((name, pool.texts)).encode()):08x}.npz"
        texts = load_descriptions(path)
        if texts is None:
            with Client(arguments.url, timeout=None) as client:
                texts = describe(pool.texts, client, labels)
            save_descriptions(path, texts)
        true = [index.get(label, -1) for label in pool.labels] or [-1] * len(texts)
        described[name] = Described(texts, np.array(true))
    return described


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of the pushed versions")
    parser.add_argument("--url", default="grpc://127.0.0.1:8500", help="URL of the model server")
    parser.add_argument("--train", type=Path, required=True, help="CSV of training data")
    parser.add_argument("--unseen", type=Path, required=True, help="CSV from the same source")
    parser.add_argument("--other", type=Path, required=True, help="CSV from another domain")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the descriptions")
    parser.add_argument("--films", type=int, default=6000, help="texts without drift")
    parser.add_argument("--drifted", type=int, default=1500, help="texts of each other kind")
    parser.add_argument("--reference", type=int, default=1000, help="held-out texts")
    parser.add_argument("--window", type=int, default=500, help="texts per window")
    parser.add_argument("--rounds", type=int, default=100, help="windows per kind; 0 for none")
    parser.add_argument(
        "--null-rounds", type=int, default=1000, help="windows without drift; 0 for none"
    )
    parser.add_argument(
        "--traffic", action="append", help="only this kind of traffic; can be repeated"
    )
    parser.add_argument("--rate", type=float, default=0.01, help="drift.false_alarm_rate")
    return parser.parse_args()


if __name__ == "__main__":
    main()
