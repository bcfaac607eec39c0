"""What the server does with a request, whatever carried it: the only request logic.

A call is checked here, handed to a servable, and its outputs made into an answer::

    call = service.predict(request, deadline)     # checked and queued; returns at once
    response = call.wait()                        # a thread: gRPC
    response = call.answer(await future)          # asyncio: REST, see serving.server.rest.rest

Deadlines are ``time.monotonic()`` seconds; None is never. Failures are ``ServingError`` with
TensorFlow Serving's codes and messages.
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
from serving.server.requests.inference import Method
from serving.server.requests.signature_inputs import DEFAULT_SIGNATURE, Signature

Answer = TypeVar("Answer")
Outputs = dict[str, np.ndarray]

#: Signatures whose protos are kept in read form.
_MAX_SIGNATURES = 256


@dataclasses.dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model, version and signature a request is for.

    Attributes:
        name: the model's.
        version: its number, or None.
        label: of a version, or None. Without either, the newest version is meant.
        signature: key; "" is the default.
    """

    name: str
    version: int | None = None
    label: str | None = None
    signature: str = ""


def read_model_spec(request: Any) -> ModelSpec:
    """The ``model_spec`` of a request proto.

    Raises:
        ServingError: ``INVALID_ARGUMENT``, without one.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    return model_spec(request.model_spec)


def model_spec(spec: Any) -> ModelSpec:
    """A ``ModelSpec`` proto."""
    choice = spec.WhichOneof("version_choice")
    return ModelSpec(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
        spec.signature_name,
    )


class PendingResponse(Generic[Answer]):
    """A run that is under way.

    Attributes:
        future: of the outputs; cancelling it takes the call out of the queue.
        answer: what to make of the outputs; may raise ``ServingError``.
        deadline: nobody waits longer.
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
        """The answer.

        Raises:
            ServingError: the run's, or ``DEADLINE_EXCEEDED``, ``CANCELLED``.
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
    """Nobody waits for the answer any more."""
    return ServingError(
        Code.DEADLINE_EXCEEDED,
        "Timed out waiting for notification: the model did not answer before the deadline",
    )


class InferenceService:
    """Predict, classify, regress and multi-inference.

    Args:
        models: what is served.
        max_request_examples: most examples in one call.
        max_tensor_bytes: most that one input tensor may take.
    """

    def __init__(
        self,
        models: Models,
        max_request_examples: int = 4096,
        max_tensor_bytes: int = tensors.DEFAULT_MAX_BYTES,
    ) -> None:
        self.models = models
        self._max_examples = max_request_examples
        self._max_tensor_bytes = max_tensor_bytes
        self._signatures: dict[tuple[str, int, str], Signature] = {}

    def acquire(self, spec: ModelSpec) -> ServableHandle:
        """Pin the version that a request is for. See ``Models.acquire``."""
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        return self.models.acquire(spec.name, spec.version, spec.label)

    def signature(self, servable: Servable, key: str) -> Signature | None:
        """A signature of a servable in read form; None where it has none of this name."""
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
    ) -> PendingResponse[Answer]:
        """Hand a checked request to its servable.

        Args:
            handle: pins the servable; released once the run is over.
            request: names, types and outputs checked.
            api: "Predict", "Classify" or "Regress", for metrics.
            answer: makes the answer of the outputs.
        """
        if request.examples > self._max_examples:
            raise invalid_argument(
                f"The request has {request.examples} examples; at most {self._max_examples} are "
                "taken in one call: send it in parts"
            )
        name, started = handle.servable.name, time.perf_counter_ns()
        future = handle.servable.submit(request)

        def done(outputs: Outputs) -> Answer:
            micros = (time.perf_counter_ns() - started) / 1000
            metrics.RUNTIME_LATENCY.observe(micros, name, api, "TF1")
            metrics.record_examples(name, request.examples)
            return answer(outputs)

        call = PendingResponse(future, done, request.deadline)
        future.add_done_callback(lambda _: handle.release())
        return call

    def predict(self, request: Any, deadline: float | None = None) -> PendingResponse[Any]:
        """Run a ``PredictRequest``; the answer is a ``PredictResponse``."""
        spec = read_model_spec(request)
        handle = self.acquire(spec)
        try:
            key = spec.signature or DEFAULT_SIGNATURE
            signature = self.signature(handle.servable, key)
            if signature is None:
                raise ServingError(
                    Code.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.'
                )
            inputs = signature_inputs.read_arrays(signature, request.inputs, self._max_tensor_bytes)
            wanted = signature_inputs.filtered_outputs(signature, request.output_filter)
            run = RunRequest(key, inputs, wanted, deadline, count_examples(inputs))
            version = handle.servable.version
            return self.submit(
                handle,
                run,
                "Predict",
                lambda outputs: _predict_response(spec.name, key, version, signature, outputs),
            )
        except BaseException:
            handle.release()
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
            method: which.
            spec: of the request.
            message: its ``Input`` proto.
            deadline: of the call.
            answer: makes the answer of the method's result and the version's number.
        """
        handle = self.acquire(spec)
        try:
            key = spec.signature or DEFAULT_SIGNATURE
            signature = self.signature(handle.servable, key)
            if signature is None:
                raise invalid_argument(f"No signature was found with the name: {key}")
            wanted = method.outputs(signature)
            examples = inference.serialized_examples(message)
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
        """Run a ``ClassificationRequest``; the answer is a ``ClassificationResponse``."""
        response = protos.classification_pb2.ClassificationResponse()
        return self._examples_call(inference.CLASSIFY, request, response, deadline)

    def regress(self, request: Any, deadline: float | None = None) -> PendingResponse[Any]:
        """Run a ``RegressionRequest``; the answer is a ``RegressionResponse``."""
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
    """Rows of a call: the longest first dimension, at least 1."""
    return max((len(array) for array in inputs.values() if array.ndim), default=1) or 1


def fill_model_spec(message: Any, name: str, signature: str, version: int) -> None:
    """Write which signature of which version answered."""
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
