"""Recorded requests that warm a model before it receives traffic. Only for the worker process.

The file and its rules are those of TensorFlow Serving
(servables/tensorflow/saved_model_warmup_util.cc): a TFRecord of ``PredictionLog`` in
``assets.extra``. Any failure fails the version.
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from modules.contract import features
from serving.protocol import protos
from serving.protocol.errors import Code, ServingError
from serving.server.requests.inference import serialized_examples
from serving.server.worker.loaded_model import find_signature
from serving.server.worker.worker_task import WarmupRequest

FILE = os.path.join(features.EXTRA_ASSETS, features.WARMUP_FILE)
MOST_RECORDS = 1000
#: The only input of classify and regress signatures.
_EXAMPLES = "inputs"
_METHOD_PREFIX = "tensorflow/serving/"


def requests_of(directory: str, signatures: Mapping[str, Any]) -> list[WarmupRequest]:
    """Read the recorded requests of a model.

    Args:
        directory: folder of the SavedModel.
        signatures: ``SignatureDef`` protos of the model by key.

    Returns:
        The requests in order; empty if the model has no file.

    Raises:
        ServingError: a record cannot be read or does not match the model, or there are more than
            1000 records.
    """
    path = os.path.join(directory, FILE)
    if not os.path.exists(path):
        return []
    found: list[WarmupRequest] = []
    for number, log in enumerate(_read(path), 1):
        if number > MOST_RECORDS:
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {path}",
            )
        found.extend(_requests(log, signatures))
    return found


def _read(path: str) -> Iterator[Any]:
    try:
        for record in tf.compat.v1.io.tf_record_iterator(path):
            yield protos.prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise ServingError(
            Code.INVALID_ARGUMENT, f"Failed to parse warmup record from {path}"
        ) from error
    except tf.errors.OpError as error:
        raise ServingError(Code(error.error_code), f"{path}: {error.message}") from error


def _requests(log: Any, signatures: Mapping[str, Any]) -> Sequence[WarmupRequest]:
    kind = log.WhichOneof("log_type")
    if kind is None:
        return []
    if kind not in _REQUESTS:
        field = log.DESCRIPTOR.fields_by_name[kind]
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {field.number}")
    return _REQUESTS[kind](getattr(log, kind).request, signatures)


def _predict(request: Any, signatures: Mapping[str, Any]) -> list[WarmupRequest]:
    key = request.model_spec.signature_name or features.SERVING_DEFAULT
    signature = find_signature(signatures, key)
    if missing := set(signature.inputs) ^ set(request.inputs):
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"the inputs of a warm-up request differ from signature {key}: {sorted(missing)}",
        )
    inputs = {alias: tf.make_ndarray(tensor) for alias, tensor in request.inputs.items()}
    return [WarmupRequest(key, inputs, tuple(request.output_filter))]


def _on_examples(method: str, request: Any, signatures: Mapping[str, Any]) -> list[WarmupRequest]:
    return [_examples_request(request.model_spec, request.input, method, signatures)]


def _multi_inference(request: Any, signatures: Mapping[str, Any]) -> list[WarmupRequest]:
    return [
        _examples_request(
            task.model_spec,
            request.input,
            task.method_name.removeprefix(_METHOD_PREFIX),
            signatures,
        )
        for task in request.tasks
    ]


def _examples_request(
    model_spec: Any, examples: Any, method: str, signatures: Mapping[str, Any]
) -> WarmupRequest:
    key = model_spec.signature_name or features.SERVING_DEFAULT
    signature = find_signature(signatures, key)
    if signature.method_name != _METHOD_PREFIX + method or list(signature.inputs) != [_EXAMPLES]:
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"signature {key} is not a {method} signature: its method is "
            f"{signature.method_name!r}, its inputs are {sorted(signature.inputs)}",
        )
    return WarmupRequest(key, {_EXAMPLES: serialized_examples(examples)})


_REQUESTS: Mapping[str, Callable[[Any, Mapping[str, Any]], Sequence[WarmupRequest]]] = {
    "predict_log": _predict,
    "classify_log": functools.partial(_on_examples, "classify"),
    "regress_log": functools.partial(_on_examples, "regress"),
    "multi_inference_log": _multi_inference,
}
