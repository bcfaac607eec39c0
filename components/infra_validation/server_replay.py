"""Replays the trainer's texts against a model server, over REST and gRPC."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from components.infra_validation.model_servers import MODEL_NAME, RunningServer
from modules.contract import features
from modules.contract.errors import ModelError
from serving.client import Client, ClientError
from serving.protocol.protos import example_pb2
from serving.protocol.servable import State

#: Number of timed one-text calls per protocol; texts are repeated to reach it.
LATENCY_CALLS = 48
#: Ways of sending requests; see ``checks.WAYS``.
_POLL_SECONDS = 0.05
_OUTPUTS = (features.SCORES, features.PREDICTED_LABEL)


def wait_until_available(server: RunningServer, deadline: float) -> None:
    """Wait until the model is available over both protocols.

    Args:
        server: the server of the candidate.
        deadline: ``time.monotonic()`` by which the model must be available.

    Raises:
        ModelError: the model cannot be loaded, or was not available in time.
    """
    for url in (server.grpc, server.rest):
        timeout = max(1.0, deadline - time.monotonic())
        with Client(url, model=MODEL_NAME, timeout=timeout, retries=0) as client:
            _wait(client, deadline)


def _wait(client: Client, deadline: float) -> None:
    reported = "nothing"
    while time.monotonic() < deadline:
        try:
            statuses = client.status()
        except ClientError as error:  # the stock server listens before it knows the model
            reported = str(error)
            statuses = []
        if any(status.state == State.AVAILABLE for status in statuses):
            return
        for status in statuses:
            reported = f"{status.state.name} {status.message}".strip()
            if status.state == State.END:
                raise ModelError(f"the model server cannot load the model: {status.message}")
        time.sleep(_POLL_SECONDS)
    raise ModelError(f"the model was not available in time; the server reports: {reported}")


def replay(
    server: RunningServer, texts: Sequence[str], examples: Sequence[bytes], deadline: float
) -> dict[str, Any]:
    """Send the texts in every way, and measure latency and memory.

    Args:
        server: the server of the candidate.
        texts: sent one by one, in one request and, as tf.Examples, through ``serving_examples``.
        examples: raw tf.Examples, sent through ``serving_examples`` and as their texts.
        deadline: ``time.monotonic()`` by which everything must be done.

    Returns:
        ``signatures``; ``p50_ms`` and ``p99_ms`` of the slower protocol; ``peak_memory_mb``; and,
        by protocol ("rest", "grpc") and way, ``answers`` (``scores`` and ``labels``) and ``errors``
        (messages).

    Raises:
        ClientError: the server does not describe its signatures, or fails a timed call.
    """
    reply: dict[str, Any] = {"answers": {}, "errors": {}, "latency_ms": {}}
    for protocol, url in (("rest", server.rest), ("grpc", server.grpc)):
        timeout = max(1.0, deadline - time.monotonic())
        with Client(url, model=MODEL_NAME, timeout=timeout) as client:
            signatures = sorted(client.metadata().signatures)
            reply.setdefault("signatures", signatures)
            answers, errors = _ask_in_every_way(client, texts, examples, signatures)
            reply["answers"][protocol], reply["errors"][protocol] = answers, errors
            if not errors:
                reply["latency_ms"][protocol] = _latencies(client, texts)
    for name in ("p50_ms", "p99_ms"):
        if reply["latency_ms"]:
            reply[name] = max(latency[name] for latency in reply["latency_ms"].values())
    if (memory := server.peak_memory_mb()) is not None:
        reply["peak_memory_mb"] = memory
    return reply


def _ask_in_every_way(
    client: Client, texts: Sequence[str], examples: Sequence[bytes], signatures: Sequence[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    encoded = [text.encode() for text in texts]
    wrapped = [wrap_text(text) for text in texts]
    by_text, by_example = features.SERVING_DEFAULT, features.SERVING_EXAMPLES
    ways: dict[str, Callable[[], list[Mapping[str, np.ndarray]]]] = {
        "one_by_one": lambda: [_ask(client, by_text, [text]) for text in encoded],
        "one_batch": lambda: [_ask(client, by_text, encoded)],
        "examples": lambda: [_ask(client, by_example, wrapped)],
    }
    if (fast := by_text + features.BFLOAT16_SUFFIX) in signatures:
        ways["bfloat16"] = lambda: [_ask(client, fast, encoded)]
    if examples:
        test_texts = [text_of(example) for example in examples]
        ways["test_texts"] = lambda: [_ask(client, by_text, test_texts)]
        ways["test_examples"] = lambda: [_ask(client, by_example, examples)]
    answers, errors = {}, {}
    for way, run in ways.items():
        try:
            answers[way] = _joined(run())
        except ClientError as error:
            errors[way] = str(error)[:500]
    return answers, errors


def _ask(client: Client, signature: str, batch: Sequence[bytes]) -> Mapping[str, np.ndarray]:
    by_example = signature.startswith(features.SERVING_EXAMPLES)
    name = features.EXAMPLES_INPUT if by_example else features.TEXT
    inputs = {name: np.array(list(batch), object)}
    return client.predict_tensors(inputs, signature=signature, outputs=_OUTPUTS)


def _joined(replies: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
    scores = [row for reply in replies for row in reply[features.SCORES].tolist()]
    labels = [label for reply in replies for label in reply[features.PREDICTED_LABEL].ravel()]
    return {
        "scores": scores,
        "labels": [x.decode() if isinstance(x, bytes) else str(x) for x in labels],
    }


def _latencies(client: Client, texts: Sequence[str]) -> dict[str, float]:
    """Return median and 99th percentile of one-text requests, in ms; call after a warm-up."""
    seconds = []
    for call in range(max(LATENCY_CALLS, len(texts))):
        batch = [texts[call % len(texts)].encode()]
        started = time.perf_counter()
        _ask(client, features.SERVING_DEFAULT, batch)
        seconds.append(time.perf_counter() - started)
    p50, p99 = np.percentile(seconds, [50, 99])
    return {"p50_ms": float(p50 * 1e3), "p99_ms": float(p99 * 1e3)}


def wrap_text(text: str) -> bytes:
    """Return a serialised tf.Example with the text as its only feature."""
    example = example_pb2.Example()
    example.features.feature[features.TEXT].bytes_list.value.append(text.encode())
    return bytes(example.SerializeToString())


def text_of(example: bytes) -> bytes:
    """Return the text of a serialised tf.Example; empty if it has none."""
    values = example_pb2.Example.FromString(example).features.feature[features.TEXT].bytes_list
    return bytes(values.value[0]) if values.value else b""
