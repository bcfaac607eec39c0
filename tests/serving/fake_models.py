"""``Models`` without a worker process: half_plus_two in NumPy, and a text classifier."""

import concurrent.futures
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from serving.protocol import protos
from serving.protocol.errors import Code, ServingError
from serving.protocol.servable import RunRequest, State, VersionStatus

FLOAT, STRING = protos.types_pb2.DT_FLOAT, protos.types_pb2.DT_STRING

Function = Callable[[RunRequest], dict[str, np.ndarray]]


def signature(inputs: Mapping[str, int], outputs: Mapping[str, int], method: str = "") -> Any:
    """Return a ``SignatureDef`` whose tensors have any shape."""
    message = protos.meta_graph_pb2.SignatureDef(method_name=method)
    for side, types in ((message.inputs, inputs), (message.outputs, outputs)):
        for alias, data_type in types.items():
            side[alias].name = f"{alias}:0"
            side[alias].dtype = data_type
            side[alias].tensor_shape.unknown_rank = True
    return message


class FakeServable:
    """A servable that runs a Python function for each signature, at once, in the caller's thread.

    After ``hold``, futures wait until ``let_go``.
    """

    def __init__(
        self, name: str, version: int, functions: Mapping[str, tuple[Any, Function]]
    ) -> None:
        self.name, self.version = name, version
        self.signatures = {key: proto for key, (proto, _) in functions.items()}
        self._functions = {key: function for key, (_, function) in functions.items()}
        self.requests: list[RunRequest] = []
        self.pins = 0
        self.held: list[tuple[Any, RunRequest]] | None = None
        self.failure: ServingError | None = None
        self.arrived = threading.Event()

    def hold(self) -> None:
        self.held = []

    def let_go(self) -> None:
        held, self.held = self.held or [], None
        for future, request in held:
            if future.set_running_or_notify_cancel():
                self._run(future, request)

    def submit(self, request: RunRequest) -> "concurrent.futures.Future[dict[str, np.ndarray]]":
        self.requests.append(request)
        future: concurrent.futures.Future[dict[str, np.ndarray]] = concurrent.futures.Future()
        if self.held is None:
            self._run(future, request)
        else:
            self.held.append((future, request))
        self.arrived.set()
        return future

    def _run(self, future: Any, request: RunRequest) -> None:
        if self.failure is not None:
            future.set_exception(self.failure)
            return
        try:
            outputs = self._functions[request.signature](request)
        except ServingError as error:
            future.set_exception(error)
            return
        wanted = request.outputs or tuple(outputs)
        future.set_result({alias: outputs[alias] for alias in wanted})


class FakeHandle:
    def __init__(self, servable: FakeServable) -> None:
        self.servable = servable
        self._released = False
        servable.pins += 1

    def release(self) -> None:
        assert not self._released, "a handle is released once"
        self._released = True
        self.servable.pins -= 1

    def __enter__(self) -> FakeServable:
        return self.servable

    def __exit__(self, *error: object) -> None:
        self.release()


class FakeModels:
    """A few versions of a few models."""

    def __init__(self, *servables: FakeServable, labels: Mapping[str, int] | None = None) -> None:
        self.servables = list(servables)
        self.labels = dict(labels or {})
        self.reloaded: list[Any] = []
        self.is_ready = True

    def _find(self, name: str, version: int | None) -> FakeServable | None:
        found = [
            servable
            for servable in self.servables
            if servable.name == name and version in (None, servable.version)
        ]
        return max(found, key=lambda servable: servable.version, default=None)

    def acquire(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> FakeHandle:
        if label is not None:
            if label not in self.labels:
                raise ServingError(
                    Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}"
                )
            version = self.labels[label]
        servable = self._find(name, version)
        if servable is None:
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
        return FakeHandle(servable)

    def statuses(self, name: str, version: int | None = None) -> list[VersionStatus]:
        if self._find(name, version) is None:
            what = "any versions" if version is None else f"version {version}"
            raise ServingError(Code.NOT_FOUND, f"Could not find {what} of model {name}")
        versions = sorted(
            (servable.version for servable in self.servables if servable.name == name),
            reverse=True,
        )
        return [
            VersionStatus(number, State.AVAILABLE)
            for number in versions
            if version in (None, number)
        ]

    def reload(self, config: Any, deadline: float | None = None) -> None:
        self.reloaded.append(config)

    def ready(self) -> bool:
        return self.is_ready


def _half_plus(alias: str, result: str, increment: float) -> Function:
    def run(request: RunRequest) -> dict[str, np.ndarray]:
        x = request.inputs[alias]
        if x.dtype == object:
            x = _feature_x(x)
        return {result: (x * np.float32(0.5) + np.float32(increment)).astype(np.float32)}

    return run


def _feature_x(examples: np.ndarray) -> np.ndarray:
    """Return feature x of serialised tf.Examples: float32[examples, 1]."""
    values = []
    for serialized in examples:
        example = protos.example_pb2.Example.FromString(serialized)
        values.append(example.features.feature["x"].float_list.value[:1] or [0.0])
    return np.array(values, np.float32)


def half_plus_two(version: int = 123, name: str = "default") -> FakeServable:
    """Return a servable with the signatures of TensorFlow Serving's test model."""
    examples = {"inputs": STRING}
    functions = {
        "serving_default": (
            signature({"x": FLOAT}, {"y": FLOAT}, "tensorflow/serving/predict"),
            _half_plus("x", "y", 2),
        ),
        "classify_x_to_y": (
            signature(examples, {"scores": FLOAT}, "tensorflow/serving/classify"),
            _half_plus("inputs", "scores", 2),
        ),
        "classify_x2_to_y3": (
            signature({"inputs": FLOAT}, {"scores": FLOAT}, "tensorflow/serving/classify"),
            _half_plus("inputs", "scores", 3),
        ),
        "regress_x_to_y": (
            signature(examples, {"outputs": FLOAT}, "tensorflow/serving/regress"),
            _half_plus("inputs", "outputs", 2),
        ),
        "regress_x_to_y2": (
            signature(examples, {"outputs": FLOAT}, "tensorflow/serving/regress"),
            _half_plus("inputs", "outputs", 3),
        ),
    }
    return FakeServable(name, version, functions)


def classifier(version: int = 1, name: str = "reviews") -> FakeServable:
    """Return a text classifier with the outputs of this project's exports."""

    def run(request: RunRequest) -> dict[str, np.ndarray]:
        texts = request.inputs["text"]
        lengths = np.array([len(text) for text in texts.ravel()], np.float32)
        first = 1 / (1 + lengths)
        scores = np.stack([first, 1 - first], axis=1).astype(np.float32)
        label = np.array([b"positive"] * len(scores), object)
        return {"scores": scores, "label": label, "score": scores.max(axis=1)}

    proto = signature({"text": STRING}, {"scores": FLOAT, "label": STRING, "score": FLOAT})
    return FakeServable(name, version, {"serving_default": (proto, run)})
