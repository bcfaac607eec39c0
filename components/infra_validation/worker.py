"""Loads an export and replays texts through it. Runs in a fresh process, as a model server would.

    python -m components.infra_validation.worker REQUEST.json REPLY.json

Imports TensorFlow, tensorflow_text and NumPy and nothing of TFX: an export that only works beside
the libraries that made it must fail here.
"""

import json
import os
import resource
import signal
import sys
import time
import types
from typing import Any

TEXT = "text"
EXAMPLES = "examples"
#: Timed calls of one text each; texts are repeated to reach it.
LATENCY_CALLS = 48


def main(request_path: str, reply_path: str) -> None:
    """Do what the request asks and write the reply.

    The request is JSON: ``model`` (folder), ``texts`` (strings), ``examples`` (hexadecimal
    tf.Example bytes), ``timeout_seconds``. The reply is JSON; see ``replay``.
    """
    with open(request_path, encoding="utf-8") as file:
        request = json.load(file)
    if request["timeout_seconds"]:
        # Should the parent be killed, nobody is left to stop a model that hangs.
        signal.alarm(int(request["timeout_seconds"]) + 30)
    _forbid_keras()
    reply = replay(
        request["model"], request["texts"], [bytes.fromhex(e) for e in request["examples"]]
    )
    with open(reply_path + ".part", "w", encoding="utf-8") as file:
        json.dump(reply, file)
    os.replace(reply_path + ".part", reply_path)


def _forbid_keras() -> None:
    """Make every import of Keras fail in this process.

    A model server has no Keras, so an export that asks for it must fail here. TensorFlow imports
    it if it can, which takes as long as the rest of TensorFlow; tensorflow_text's Keras layers are
    replaced by nothing, for its ops do not need them.
    """
    sys.modules["keras"] = sys.modules["tf_keras"] = None  # type: ignore[assignment]
    layers = "tensorflow_text.python.keras"
    sys.modules[layers] = types.ModuleType(layers)


def replay(model_directory: str, texts: list[str], examples: list[bytes]) -> dict[str, Any]:
    """Load the model, answer the texts in every way it offers, and measure.

    Args:
        model_directory: a SavedModel.
        texts: asked one by one, in one batch and, wrapped in a tf.Example, by
            ``serving_examples``.
        examples: raw tf.Examples, asked by ``serving_examples`` and by their text.

    Returns:
        ``signatures``, ``load_seconds``, ``first_call_ms``, ``p50_ms``, ``p99_ms``,
        ``peak_memory_mb`` and, under ``answers``, each way's ``scores`` and ``labels``.
    """
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the tokeniser's ops

    started = time.perf_counter()
    model = tf.saved_model.load(model_directory)
    load_seconds = time.perf_counter() - started
    reply: dict[str, Any] = {
        "signatures": sorted(model.signatures),
        "load_seconds": load_seconds,
        "answers": {},
        "errors": {},
    }
    by_text = model.signatures.get("serving_default")
    by_example = model.signatures.get("serving_examples")
    if by_text is not None:
        reply |= _measure_latency(tf, by_text, texts)
        _try(reply, "one_by_one", lambda: _one_by_one(tf, by_text, texts))
        _try(reply, "one_batch", lambda: _ask(by_text, TEXT, tf.constant(texts)))
        if examples:
            _try(reply, "test_texts", lambda: _ask(by_text, TEXT, _texts_of(tf, examples)))
    if by_example is not None:
        wrapped = tf.constant([_wrap(tf, text) for text in texts])
        _try(reply, "examples", lambda: _ask(by_example, EXAMPLES, wrapped))
        if examples:
            _try(reply, "test_examples", lambda: _ask(by_example, EXAMPLES, tf.constant(examples)))
    reply["peak_memory_mb"] = peak_memory_mb()
    return reply


def peak_memory_mb() -> float:
    """Greatest resident memory of this process so far, in MiB."""
    try:
        # Not getrusage: on Linux its maximum outlives exec, so it may be the parent's.
        with open("/proc/self/status", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _measure_latency(tf: Any, signature: Any, texts: list[str]) -> dict[str, float]:
    import numpy as np

    try:
        started = time.perf_counter()
        signature(**{TEXT: tf.constant(texts[:1])})
        first = time.perf_counter() - started
        for text in texts:  # every length once: TensorFlow allocates on first sight
            signature(**{TEXT: tf.constant([text])})
        seconds = []
        for call in range(max(LATENCY_CALLS, len(texts))):
            batch = tf.constant([texts[call % len(texts)]])
            started = time.perf_counter()
            signature(**{TEXT: batch})
            seconds.append(time.perf_counter() - started)
    except Exception:
        return {}
    p50, p99 = np.percentile(seconds, [50, 99])
    return {"first_call_ms": first * 1e3, "p50_ms": p50 * 1e3, "p99_ms": p99 * 1e3}


def _try(reply: dict[str, Any], way: str, ask: Any) -> None:
    try:
        reply["answers"][way] = ask()
    except Exception as error:
        reply["errors"][way] = f"{type(error).__name__}: {error}".split("\n")[0][:500]


def _ask(signature: Any, name: str, batch: Any) -> dict[str, Any]:
    outputs = signature(**{name: batch})
    labels = outputs["label"].numpy().ravel().tolist()
    return {
        "scores": outputs["scores"].numpy().astype(float).tolist(),
        "labels": [label.decode() for label in labels],
    }


def _one_by_one(tf: Any, signature: Any, texts: list[str]) -> dict[str, Any]:
    answers = [_ask(signature, TEXT, tf.constant([text])) for text in texts]
    return {
        "scores": [answer["scores"][0] for answer in answers],
        "labels": [answer["labels"][0] for answer in answers],
    }


def _wrap(tf: Any, text: str) -> bytes:
    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
    example = tf.train.Example(features=tf.train.Features(feature={TEXT: value}))
    return bytes(example.SerializeToString())


def _texts_of(tf: Any, examples: list[bytes]) -> Any:
    features = [tf.train.Example.FromString(example).features for example in examples]
    return tf.constant([each.feature[TEXT].bytes_list.value[0] for each in features])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
