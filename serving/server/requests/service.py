"""Request logic that REST and gRPC share.

A call is checked, passed to a servable, and its outputs are converted to a response::

    call = service.predict(request, deadline)     # checks and queues; returns at once
    response = call.wait()                        # in a thread: gRPC
    response = call.answer(await future)          # in asyncio: REST, see serving.server.rest.rest

Deadlines are ``time.monotonic()`` seconds, or None for no limit. Failures raise ``ServingError``
with TensorFlow Serving's codes and messages.
"""

import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from serving.protocol import protos, tensors
from serving.protocol.errors import Code, ServingError, invalid_argument
from serving.protocol.servable import Models, RunRequest, Servable, ServableHandle
from serving.server import metrics
from serving.server.requests import inference, signature_inputs
from serving.server.requests.byte_budget import ByteBudget, Reservation
from serving.server.requests.inference import Method
from serving.server.requests.signature_inputs import DEFAULT_SIGNATURE, Signature

Answer = TypeVar("Answer")
Outputs = dict[str, np.ndarray]

#: Inputs of running calls may take this many times ``max_tensor_bytes``.
_LARGEST_CALLS = 8
#: Maximum number of parsed signatures to cache.
_MAX_SIGNATURES = 256


@dataclasses.dataclass(frozen=True, slots=True)
class ModelSpec:
    """Model, version and signature of a request. Without version and label, the newest is used.

    Attributes:
        name: name of the model.
        version: version number, or None.
        label: version label, or None.
        signature: key of the signature; "" for the default.
    """

    name: str
    version: int | None = None
    label: str | None = None
    signature: str = ""


def read_model_spec(request: Any) -> ModelSpec:
    """Read the ``model_spec`` of a request proto.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: it is missing.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    return model_spec(request.model_spec)


def model_spec(spec: Any) -> ModelSpec:
    """Convert a ``ModelSpec`` proto."""
    choice = spec.WhichOneof("version_choice")
    return ModelSpec(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
        spec.signature_name,
    )


class PendingResponse(Generic[Answer]):
    """A call that is queued or running.

    Attributes:
        future: future of the outputs; cancelling it removes the call from the queue.
        answer: function that converts the outputs to the response; may raise ``ServingError``.
        deadline: time after which nobody waits for the response.
    """

    __slots__ = ("answer", "deadline", "future")

    def __init__(
        self,
        future: "concurrent.futures.Future[Outputs]",
        answer: Callable[[Outputs], Answer],
        deadline: float | None,
    ) -> None:
        self.future, self.answer, self.deadline = future, answer, deadline

    def wait(self) -> Answer:
        """Wait for the response.

        Raises:
            ServingError: the call failed, was cancelled (``CANCELLED``) or did not finish in time
                (``DEADLINE_EXCEEDED``).
        """
        remaining = None if self.deadline is None else self.deadline - time.monotonic()
        try:
            outputs = self.future.result(remaining)
        except concurrent.futures.CancelledError:
            raise ServingError(Code.CANCELLED, "The call was cancelled") from None
        except TimeoutError:
            self.future.cancel()
            raise deadline_exceeded() from None
        return self.answer(outputs)


def deadline_exceeded() -> ServingError:
    """Return the error for a call that did not finish before its deadline."""
    return ServingError(
        Code.DEADLINE_EXCEEDED,
        "Timed out waiting for notification: the model did not answer before the deadline",
    )


class InferenceService:
    """Predict, classify, regress and multi-inference.

    Args:
        models: the served models.
        max_request_examples: maximum number of examples in a call.
        max_tensor_bytes: maximum size of a call's inputs; all running calls together may have 8
            times as much.

    Attributes:
        models: the served models.
        budget: budget for the inputs of all running calls.
    """

    def __init__(
        self,
        models: Models,
        max_request_examples: int = 4096,
        max_tensor_bytes: int = tensors.DEFAULT_MAX_BYTES,
    ) -> None:
        self.models = models
        self.budget = ByteBudget(_LARGEST_CALLS * max_tensor_bytes)
        self._max_examples = max_request_examples
        self._max_tensor_bytes = max_tensor_bytes
        self._signatures: dict[tuple[str, int, str], Signature] = {}

    def acquire(self, spec: ModelSpec) -> ServableHandle:
        """Pin the version that a request is for. See ``Models.acquire``.

        Raises:
            ServingError: the request names no model, or the version does not exist.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        return self.models.acquire(spec.name, spec.version, spec.label)

    def signature(self, servable: Servable, key: str) -> Signature | None:
        """Return a parsed signature of a servable; None if it has none with this key."""
        proto = servable.signatures.get(key)
        if proto is None:
            return None
        place = (servable.name, servable.version, key)
        known = self._signatures.get(place)
        if known is None or known.proto is not proto:
            if len(self._signatures) >= _MAX_SIGNATURES:
                self._signatures.clear()
            known = self._signatures[place] = signature_inputs.read_signature(proto)
        return known

    def submit(
        self,
        handle: ServableHandle,
        request: RunRequest,
        api: str,
        answer: Callable[[Outputs], Answer],
        reservation: Reservation | None = None,
    ) -> PendingResponse[Answer]:
        """Pass a checked request to its servable.

        Args:
            handle: pin on the servable, released when the call ends.
            request: request with checked names, types and outputs.
            api: "Predict", "Classify" or "Regress", for metrics.
            answer: function that converts the outputs to the response.
            reservation: the bytes reserved for the inputs; None reserves them.

        Raises:
            ServingError: ``INVALID_ARGUMENT``: the request has too many examples;
                ``RESOURCE_EXHAUSTED``: running calls take too many bytes.
        """
        self.check_examples(request.examples)
        if reservation is None:
            size = sum(map(tensors.array_bytes, request.inputs.values()))
            reservation = self.budget.reserve(size)
        name, started = handle.servable.name, time.perf_counter_ns()
        try:
            future = handle.servable.submit(request)
        except BaseException:
            reservation.release()
            raise

        def done(outputs: Outputs) -> Answer:
            micros = (time.perf_counter_ns() - started) / 1000
            metrics.RUNTIME_LATENCY.observe(micros, name, api, "TF1")
            metrics.record_examples(name, request.examples)
            return answer(outputs)

        call = PendingResponse(future, done, request.deadline)
        future.add_done_callback(lambda _: handle.release())
        future.add_done_callback(lambda _: reservation.release())
        return call

    def metric_label(self, name: str) -> str:
        """Return a model's name for metrics; ``metrics.OTHER`` if no model has it."""
        try:
            self.models.statuses(name)
        except ServingError:
            return metrics.OTHER
        return name

    def check_examples(self, examples: int) -> None:
        """Refuse a call with too many examples.

        Raises:
            ServingError: ``INVALID_ARGUMENT``: it has too many.
        """
        if examples > self._max_examples:
            raise invalid_argument(
                f"The request has {examples} examples; at most {self._max_examples} are allowed: "
                "split it"
            )

    def examples(self, message: Any) -> np.ndarray:
        """Return the examples of an ``Input`` proto: object[examples] of bytes.

        Raises:
            ServingError: ``INVALID_ARGUMENT``: there are none or too many, or they are too large.
        """
        self.check_examples(inference.count_examples(message))
        return inference.serialized_examples(message, self._max_tensor_bytes)

    def predict(self, request: Any, deadline: float | None = None) -> PendingResponse[Any]:
        """Run a ``PredictRequest``; the response is a ``PredictResponse``.

        Raises:
            ServingError: the request is invalid, or its model, version or signature is unknown.
        """
        spec = read_model_spec(request)
        handle = self.acquire(spec)
        reservation = None
        try:
            key = spec.signature or DEFAULT_SIGNATURE
            signature = self.signature(handle.servable, key)
            if signature is None:
                raise ServingError(
                    Code.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.'
                )
            sizes = signature_inputs.measure(signature, request.inputs, self._max_tensor_bytes)
            wanted = signature_inputs.filtered_outputs(signature, request.output_filter)
            self.check_examples(max((s.shape[0] for s in sizes.values() if s.shape), default=1))
            reservation = self.budget.reserve(sum(size.size for size in sizes.values()))
            inputs = signature_inputs.read_arrays(signature, request.inputs, sizes)
            run = RunRequest(key, inputs, wanted, deadline, count_examples(inputs))
            version = handle.servable.version
            return self.submit(
                handle,
                run,
                "Predict",
                lambda outputs: _predict_response(spec.name, key, version, signature, outputs),
                reservation,
            )
        except BaseException:
            handle.release()
            if reservation is not None:
                reservation.release()
            raise

    def run_examples(
        self,
        method: Method,
        spec: ModelSpec,
        message: Any,
        deadline: float | None,
        answer: Callable[[Any, int], Answer],
    ) -> PendingResponse[Answer]:
        """Classify or regress.

        Args:
            method: method to run.
            spec: model, version and signature of the request.
            message: ``Input`` proto of the request.
            deadline: deadline of the call.
            answer: function that converts the method's result and the version number to the
                response.

        Raises:
            ServingError: the request is invalid, or its model, version or signature is unknown.
        """
        handle = self.acquire(spec)
        try:
            key = spec.signature or DEFAULT_SIGNATURE
            signature = self.signature(handle.servable, key)
            if signature is None:
                raise invalid_argument(f"No signature was found with the name: {key}")
            wanted = method.outputs(signature)
            examples = self.examples(message)
            inputs = inference.example_inputs(signature, examples)
            version, count = handle.servable.version, len(examples)
            return self.submit(
                handle,
                RunRequest(key, inputs, wanted, deadline, count),
                method.api,
                lambda outputs: answer(method.read(signature, outputs, count), version),
            )
        except BaseException:
            handle.release()
            raise

    def classify(self, request: Any, deadline: float | None = None) -> PendingResponse[Any]:
        """Run a ``ClassificationRequest``; the response is a ``ClassificationResponse``."""
        response = protos.classification_pb2.ClassificationResponse()
        return self._examples_call(inference.CLASSIFY, request, response, deadline)

    def regress(self, request: Any, deadline: float | None = None) -> PendingResponse[Any]:
        """Run a ``RegressionRequest``; the response is a ``RegressionResponse``."""
        response = protos.regression_pb2.RegressionResponse()
        return self._examples_call(inference.REGRESS, request, response, deadline)

    def _examples_call(
        self, method: Method, request: Any, response: Any, deadline: float | None
    ) -> PendingResponse[Any]:
        spec = read_model_spec(request)

        def answer(result: Any, version: int) -> Any:
            fill_model_spec(response.model_spec, spec.name, spec.signature, version)
            response.result.SetInParent()
            method.fill(response.result, result)
            return response

        return self.run_examples(method, spec, request.input, deadline, answer)


def count_examples(inputs: Mapping[str, np.ndarray]) -> int:
    """Return the number of rows of a call: the longest first dimension, at least 1."""
    return max((len(array) for array in inputs.values() if array.ndim), default=1) or 1


def fill_model_spec(message: Any, name: str, signature: str, version: int) -> None:
    """Write the model, signature and version that answered to a ``ModelSpec`` proto."""
    message.name = name
    message.signature_name = signature or DEFAULT_SIGNATURE
    message.version.value = version


def _predict_response(
    name: str, key: str, version: int, signature: Signature, outputs: Outputs
) -> Any:
    response = protos.predict_pb2.PredictResponse()
    fill_model_spec(response.model_spec, name, key, version)
    for alias, array in outputs.items():
        tensors.fill_proto(response.outputs[alias], array, signature.outputs[alias])
    return response
