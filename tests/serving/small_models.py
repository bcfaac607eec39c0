"""SavedModels for tests of the worker: text, precision twins, and loads and runs that wait."""

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.protocol import protos
from tests.serving.saved_model_writer import (
    BOOL,
    FLOAT,
    INT32,
    INT64,
    STRING,
    Graph,
    type_of,
)

WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")


def write_text_model(directory: Path) -> Path:
    """Write ``serving_default``: text string[batch] -> echo string[batch], number float[batch].

    ``number`` is the text parsed as a number; other texts are an INVALID_ARGUMENT.
    """
    graph = Graph()
    graph.placeholder("text", STRING, (-1,))
    graph.op("Identity", "echo", ["text"], T=type_of(STRING))
    graph.op("StringToNumber", "number", ["text"], out_type=type_of(FLOAT))
    text = {"text": ("text", STRING, (-1,))}
    echo, number = ("echo", STRING, (-1,)), ("number", FLOAT, (-1,))
    graph.signature("serving_default", text, {"echo": echo, "number": number})
    graph.signature("echo", text, {"echo": echo, "again": echo})
    return graph.write(directory)


def write_types_model(directory: Path) -> Path:
    """Write ``serving_default``: inputs of several types and ranks, each returned unchanged."""
    graph = Graph()
    inputs: dict[str, Any] = {
        "matrix": (FLOAT, (-1, 2)),
        "count": (INT64, ()),
        "flag": (BOOL, (-1,)),
        "name": (STRING, ()),
    }
    outputs = {}
    for alias, (dtype, shape) in inputs.items():
        graph.placeholder(f"in_{alias}", dtype, shape)
        graph.op("Identity", f"out_{alias}", [f"in_{alias}"], T=type_of(dtype))
        outputs[alias] = (f"out_{alias}", dtype, shape)
    placeholders = {alias: (f"in_{alias}", *rest) for alias, rest in inputs.items()}
    graph.signature("serving_default", placeholders, outputs)
    return graph.write(directory)


def write_twin_model(directory: Path, *, twin_adds: float) -> Path:
    """Write a slow y = x, and a fast ``serving_default_bfloat16``: y = x + ``twin_adds``."""
    graph = Graph()
    graph.placeholder("x", FLOAT, (-1,))
    graph.constant("addend", twin_adds, FLOAT)
    graph.constant("size", [400, 400], INT32, (2,))
    graph.constant("zero", 0.0, FLOAT)
    graph.op("Fill", "work", ["size", "zero"], T=type_of(FLOAT), index_type=type_of(INT32))
    # Random, so that the product is not folded into a constant at the first run.
    graph.op("RandomUniform", "noise", ["size"], T=type_of(INT32), dtype=type_of(FLOAT))
    graph.op("MatMul", "product", ["work", "noise"], T=type_of(FLOAT))
    graph.op("Identity", "slow", ["x", "^product"], T=type_of(FLOAT))
    graph.op("AddV2", "fast", ["x", "addend"], T=type_of(FLOAT))
    x = {"x": ("x", FLOAT, (-1,))}
    graph.signature("serving_default", x, {"y": ("slow", FLOAT, (-1,))})
    graph.signature("serving_default_bfloat16", x, {"y": ("fast", FLOAT, (-1,))})
    graph.write(directory)
    write_warmup(directory, predict(x=[1.0, 2.0]))
    return directory


def write_waiting_model(directory: Path, *, load: Path | None = None) -> Path:
    """Write ``serving_default``: x float[batch] -> y = x, and ``wait``: opens the pipe at a path.

    Opening a named pipe for reading waits until it is opened for writing. So the test decides when
    a run ends or, with ``load``, when the load ends. The server must allow unsafe operations.
    """
    graph = Graph()
    graph.placeholder("x", FLOAT, (-1,))
    graph.op("Identity", "y", ["x"], T=type_of(FLOAT))
    graph.placeholder("path", STRING, ())
    graph.op("ReadFile", "content", ["path"])
    if load is not None:
        graph.constant("load_path", str(load).encode(), STRING)
        graph.op("ReadFile", "load_content", ["load_path"])
        graph.op("NoOp", "wait_at_load", ["^load_content"])
        graph.init_op("wait_at_load")
    graph.signature("serving_default", {"x": ("x", FLOAT, (-1,))}, {"y": ("y", FLOAT, (-1,))})
    graph.signature("wait", {"path": ("path", STRING, ())}, {"content": ("content", STRING, ())})
    return graph.write(directory)


def predict(signature: str = "", **inputs: Sequence[float]) -> Any:
    """Return a warm-up record: a Predict call with float[n] inputs."""
    log = protos.prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = signature
    for alias, values in inputs.items():
        request.inputs[alias].dtype = FLOAT
        request.inputs[alias].tensor_shape.dim.add(size=len(values))
        request.inputs[alias].float_val.extend(values)
    return log


def write_warmup(directory: Path, *logs: Any) -> None:
    """Write warm-up records to a SavedModel, as a TFRecord file."""
    file = directory / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"".join(_record(log.SerializeToString()) for log in logs))


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _masked_crc(data: bytes) -> bytes:
    """Return TFRecord's checksum: CRC-32C, rotated and shifted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1))
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
