"""Classify and regress with several signatures of a model on the same examples.

TensorFlow Serving runs one merged graph call; here each task is a separate call on the same pinned
version. Checks and messages are those of servables/tensorflow/multi_inference.cc.
"""

import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.protocol import protos
from serving.protocol.errors import ServingError, invalid_argument
from serving.protocol.servable import RunRequest, Servable, ServableHandle
from serving.server.requests import inference, service
from serving.server.requests.inference import Method
from serving.server.requests.service import InferenceService, PendingResponse
from serving.server.requests.signature_inputs import DEFAULT_SIGNATURE, Signature


@dataclasses.dataclass(frozen=True)
class _Task:
    spec: Any
    key: str
    signature: Signature
    method: Method
    outputs: tuple[str, ...]


class _SharedHandle:
    """A pin that is released when its last holder releases it."""

    def __init__(self, handle: ServableHandle, holders: int) -> None:
        self.servable: Servable = handle.servable
        self._handle, self._holders, self._lock = handle, holders, threading.Lock()

    def release(self, holders: int = 1) -> None:
        """Release the pin for some of its holders."""
        with self._lock:
            self._holders -= holders
            last = self._holders == 0 and holders > 0
        if last:
            self._handle.release()

    def __enter__(self) -> Servable:
        return self.servable

    def __exit__(self, *error: object) -> None:
        self.release()


def submit(
    inference_service: InferenceService, request: Any, deadline: float | None = None
) -> list[PendingResponse[Any]]:
    """Pass every task of a ``MultiInferenceRequest`` to the servable.

    Args:
        inference_service: service that checks and runs the tasks.
        request: the request proto.
        deadline: deadline of all tasks.

    Returns:
        Calls in the order of the tasks; their responses are ``InferenceResult`` protos.

    Raises:
        ServingError: a task is invalid, or the servable is overloaded; all tasks are cancelled.
    """
    first = request.tasks[0].model_spec if request.tasks else protos.model_pb2.ModelSpec()
    handle = inference_service.acquire(service.model_spec(first))
    calls: list[PendingResponse[Any]] = []
    shared = _SharedHandle(handle, len(request.tasks))
    try:
        tasks = _checked_tasks(inference_service, handle.servable, request.tasks)
        examples = inference_service.examples(request.input)
        for task in tasks:
            calls.append(_submit(inference_service, shared, task, examples, deadline))
    except BaseException:
        for call in calls:
            call.future.cancel()
        shared.release(len(request.tasks) - len(calls))
        raise
    return calls


def _checked_tasks(
    inference_service: InferenceService, servable: Servable, tasks: Sequence[Any]
) -> list[_Task]:
    checked: dict[str, _Task] = {}
    for task in tasks:
        spec = task.model_spec
        key = spec.signature_name or DEFAULT_SIGNATURE
        if not spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if spec.name != servable.name:
            raise invalid_argument(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        if key in checked:
            raise invalid_argument(f"Duplicate evaluation of signature: {key}")
        signature = inference_service.signature(servable, key)
        if signature is None:
            raise invalid_argument(f"Requested signature not found in model graph: {key}")
        method = inference.method_named(task.method_name)
        checked[key] = _Task(spec, key, signature, method, method.outputs(signature))
    return list(checked.values())


def _submit(
    inference_service: InferenceService,
    handle: _SharedHandle,
    task: _Task,
    examples: np.ndarray,
    deadline: float | None,
) -> PendingResponse[Any]:
    inputs = inference.example_inputs(task.signature, examples)
    version = handle.servable.version

    def answer(outputs: service.Outputs) -> Any:
        result = protos.inference_pb2.InferenceResult()
        service.fill_model_spec(result.model_spec, task.spec.name, task.key, version)
        filled = getattr(result, task.method.result_field)
        filled.SetInParent()
        values = task.method.read(task.signature, outputs, len(examples))
        task.method.fill(filled, values)
        return result

    run = RunRequest(task.key, inputs, task.outputs, deadline, len(examples))
    return inference_service.submit(handle, run, task.method.api, answer)


def wait(calls: Sequence[PendingResponse[Any]]) -> Any:
    """Wait for the ``MultiInferenceResponse``.

    Raises:
        ServingError: a task failed; tasks that have not started are cancelled.
    """
    response = protos.inference_pb2.MultiInferenceResponse()
    try:
        for call in calls:
            response.results.append(call.wait())
    except ServingError:
        for call in calls:
            call.future.cancel()
        raise
    return response
