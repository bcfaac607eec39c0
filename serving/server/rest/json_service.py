"""Inference requests with JSON bodies, independent of HTTP."""

from typing import Any

from serving.protocol.errors import invalid_argument
from serving.protocol.servable import RunRequest
from serving.server.requests import inference, signature_inputs
from serving.server.requests.inference import Method
from serving.server.requests.service import (
    InferenceService,
    ModelSpec,
    Outputs,
    PendingResponse,
    count_examples,
)
from serving.server.requests.signature_inputs import DEFAULT_SIGNATURE, Signature
from serving.server.rest import json_examples, json_reader, json_tensor, json_writer

#: Inference operations: the part of the URL after the colon.
VERBS = ("predict", "classify", "regress")


def submit(
    service: InferenceService, verb: str, spec: ModelSpec, body: bytes, deadline: float | None
) -> PendingResponse[bytes]:
    """Check a request and pass it to its servable.

    Args:
        service: service that checks and runs the request.
        verb: one of ``VERBS``.
        spec: model and version in the URL; the body names the signature.
        body: JSON body of the request.
        deadline: deadline of the call.

    Returns:
        A pending response, which becomes the response body.

    Raises:
        ServingError: the body is invalid, or the model does not exist.
    """
    document = json_tensor.check_object(json_reader.parse(body))
    spec = ModelSpec(spec.name, spec.version, spec.label, json_tensor.signature_name(document))
    if verb == "predict":
        return _predict(service, spec, document, deadline)
    method, write = _WRITERS[verb]
    message = json_examples.read_input(document)
    return service.run_examples(
        method, spec, message, deadline, lambda result, version: write(result)
    )


_WRITERS: dict[str, tuple[Method, Any]] = {
    "classify": (inference.CLASSIFY, json_writer.classifications),
    "regress": (inference.REGRESS, json_writer.regressions),
}


def _predict(
    service: InferenceService, spec: ModelSpec, document: Any, deadline: float | None
) -> PendingResponse[bytes]:
    handle = service.acquire(spec)
    try:
        key = spec.signature or DEFAULT_SIGNATURE
        signature = service.signature(handle.servable, key)
        if signature is None:
            raise invalid_argument(f'Serving signature name: "{key}" not found in signature def')
        if not signature.inputs:
            raise invalid_argument(
                f"Failed to get input map for signature: {spec.signature or 'DEFAULT'}"
            )
        arrays, rows = json_tensor.read_tensors(document, signature.inputs)
        signature_inputs.check_names(signature, arrays)
        inputs = signature_inputs.with_defaults(signature, arrays)
        run = RunRequest(key, inputs, (), deadline, count_examples(inputs))
        write = json_writer.predictions if rows else json_writer.columns
        return service.submit(
            handle, run, "Predict", lambda outputs: write(_typed(signature, outputs))
        )
    except BaseException:
        handle.release()
        raise


def _typed(signature: Signature, outputs: Outputs) -> json_writer.Outputs:
    return {alias: (array, signature.outputs[alias]) for alias, array in outputs.items()}
