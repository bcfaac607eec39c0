"""One gate of ``modules.export_gates``, in its own process: prints a JSON list of failures."""

import csv
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 (TensorFlow Serving links its ops)

from modules import features

_OPS_FILE = Path(__file__).with_name("serving_ops.csv")
_FLOAT32_TOLERANCE = 1e-4
_ALONE_TOLERANCE = 1e-5
_BFLOAT16_MEDIAN = 1e-3
#: Between the two best classes; with two classes, 0.01 either side of 0.5.
_CLOSE_CALL = 0.02

#: Texts to scores float[texts, classes] by a signature.
_Ask = Callable[[str, Sequence[str]], np.ndarray]


def allowed_ops(image: str) -> frozenset[str]:
    """Ops that the stock model server of an image can run; see scripts/serving_ops.py.

    Raises:
        ValueError: no list was made for its version.
    """
    with _OPS_FILE.open(encoding="utf-8", newline="") as file:
        versions = {row["op"]: row["versions"].split() for row in csv.DictReader(file)}
    known = sorted({version for listed in versions.values() for version in listed})
    match = re.search(r":(\d+\.\d+)\b", image)
    if not match or match[1] not in known:
        raise ValueError(
            f"it is not known which ops {image!r} can run; legal: a tag of version "
            f"{', '.join(known)}; to add one: scripts/serving_ops.py"
        )
    return frozenset(op for op, listed in versions.items() if match[1] in listed)


def used_ops(directory: str) -> set[str]:
    """Names of all ops of a SavedModel's serving graph, its functions included."""
    from tensorflow.core.protobuf import saved_model_pb2

    with tf.io.gfile.GFile(os.path.join(directory, "saved_model.pb"), "rb") as file:
        model = saved_model_pb2.SavedModel.FromString(file.read())
    ops = set()
    for graph in (meta.graph_def for meta in model.meta_graphs):
        functions = {function.signature.name for function in graph.library.function}
        nodes = [node for f in graph.library.function for node in f.node_def] + list(graph.node)
        ops |= {node.op for node in nodes} - functions
    return ops


def _check_ops(directory: str, image: str) -> list[str]:
    try:
        foreign = sorted(used_ops(directory) - allowed_ops(image))
    except ValueError as error:
        return [str(error)]
    return [f"{image} cannot run the op {op}" for op in foreign]


def _check_float32(directory: str) -> list[str]:
    answers, ask = _load(directory)
    failures: list[str] = []
    for name in (features.SERVING_DEFAULT, features.SERVING_EXAMPLES):
        difference = np.abs(ask(name, answers.texts) - answers.scores).max(axis=1)
        wrong = difference > _FLOAT32_TOLERANCE
        if wrong.any():
            failures.append(
                f"{name} answers {wrong.sum()} of {len(wrong)} texts otherwise than the trainer; "
                f"largest difference {difference.max():.2g}, legal {_FLOAT32_TOLERANCE:g}"
            )
    return failures


def _check_bfloat16(directory: str) -> list[str]:
    answers, ask = _load(directory)
    failures: list[str] = []
    for name in _half_precision(directory):
        failures += _close(name, ask(name, answers.texts), answers.scores, "the trainer's")
    return failures


def _check_alone(directory: str) -> list[str]:
    answers, ask = _load(directory)
    failures: list[str] = []
    for name in (features.SERVING_DEFAULT, *_half_precision(directory)):
        together = ask(name, answers.texts)
        alone = np.concatenate([ask(name, [text]) for text in answers.texts])
        if name.endswith(features.BFLOAT16_SUFFIX):
            failures += _close(name, alone, together, "those given together")
            continue
        difference = np.abs(alone - together).max()
        if not difference <= _ALONE_TOLERANCE:
            failures.append(
                f"{name} answers a text alone otherwise than among others; largest difference "
                f"{difference:.2g}, legal {_ALONE_TOLERANCE:g}"
            )
    return failures


def _close(name: str, scores: np.ndarray, expected: np.ndarray, whose: str) -> Iterable[str]:
    """What bfloat16 may not do to scores float[texts, classes]."""
    median = float(np.median(np.abs(scores - expected)))
    if not median <= _BFLOAT16_MEDIAN:
        yield (
            f"{name}'s scores are off {whose} by {median:.2g} in the median, "
            f"legal {_BFLOAT16_MEDIAN:g}"
        )
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] >= _CLOSE_CALL
    changed = scores.argmax(axis=1) != expected.argmax(axis=1)
    if (clear & changed).any():
        yield f"{name} labels {(clear & changed).sum()} of {len(scores)} texts other than {whose}"


class _Answers:
    """The trainer's answers that the export holds."""

    def __init__(self, directory: str) -> None:
        path = os.path.join(directory, features.EXTRA_ASSETS, features.EXPECTED_ANSWERS_FILE)
        with tf.io.gfile.GFile(path) as file:
            records = [json.loads(line) for line in file]
        if not records:
            raise SystemExit(f"{path} holds no answers to compare with")
        self.texts: list[str] = [record["text"] for record in records]
        self.scores = np.array([record["scores"] for record in records])


def _load(directory: str) -> tuple[_Answers, _Ask]:
    """Load as TensorFlow Serving does."""
    answers = _Answers(directory)
    v1 = tf.compat.v1
    session = v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        signatures = v1.saved_model.load(session, ["serve"], directory).signature_def

    def ask(name: str, texts: Sequence[str]) -> np.ndarray:
        signature = signatures[name]
        (argument,) = signature.inputs.values()
        feed: list[Any] = list(texts)
        if name.startswith(features.SERVING_EXAMPLES):
            feed = [_example(text) for text in texts]
        return session.run(signature.outputs[features.SCORES].name, {argument.name: feed})

    return answers, ask


def _half_precision(directory: str) -> list[str]:
    """Names of the bfloat16 signatures; none where the encoder's layout has no serving graph."""
    from tensorflow.core.protobuf import saved_model_pb2

    with tf.io.gfile.GFile(os.path.join(directory, "saved_model.pb"), "rb") as file:
        model = saved_model_pb2.SavedModel.FromString(file.read())
    names = {name for meta in model.meta_graphs for name in meta.signature_def}
    return sorted(name for name in names if name.endswith(features.BFLOAT16_SUFFIX))


def _example(text: str) -> bytes:
    example = tf.train.Example()
    example.features.feature[features.TEXT].bytes_list.value.append(text.encode())
    return example.SerializeToString()


def main(gate: str, directory: str, image: str) -> None:
    """Run one gate and print its failures."""
    checks: dict[str, Callable[[str], list[str]]] = {
        "ops": lambda directory: _check_ops(directory, image),
        "float32": _check_float32,
        "bfloat16": _check_bfloat16,
        "alone": _check_alone,
    }
    print(json.dumps(checks[gate](directory)))


if __name__ == "__main__":
    main(*sys.argv[1:])
