"""Metadata, status and reconfiguration of models.

Responses are protos; ``status_json`` and ``metadata_json`` format them for the REST API. The rules
are those of TensorFlow Serving's get_model_metadata_impl.cc, get_model_status_impl.cc and
model_service_impl.cc.
"""

import inspect
import json
import logging
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from serving.protocol import protos
from serving.protocol.errors import Code, ServingError, invalid_argument
from serving.protocol.servable import Models
from serving.server import metrics
from serving.server.requests.service import InferenceService, ModelSpec, read_model_spec

_log = logging.getLogger(__name__)
_SIGNATURE_DEF = "signature_def"
#: protobuf 5 renamed the option that prints fields with their default value.
_PRINT_DEFAULTS: dict[str, Any] = next(
    {name: True}
    for name in ("always_print_fields_with_no_presence", "including_default_value_fields")
    if name in inspect.signature(json_format.MessageToDict).parameters
)
_COUNTERS = {
    "/tensorflow/serving/request_count": metrics.REQUEST_COUNT,
    "/tensorflow/serving/request_example_count_total": metrics.REQUEST_EXAMPLE_COUNT_TOTAL,
}


def metadata(service: InferenceService, request: Any) -> Any:
    """Answer a ``GetModelMetadataRequest``.

    Raises:
        ServingError: the request names no model or field, or the field or version does not exist.
    """
    spec = read_model_spec(request)
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != _SIGNATURE_DEF:
            raise invalid_argument(f"Metadata field {field} is not supported")
    response = protos.get_model_metadata_pb2.GetModelMetadataResponse()
    with service.acquire(spec) as servable:
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.metadata[_SIGNATURE_DEF].Pack(_signature_map(servable.signatures))
    return response


def _signature_map(signatures: Any) -> Any:
    message = protos.get_model_metadata_pb2.SignatureDefMap()
    for key, signature in signatures.items():
        message.signature_def[key].CopyFrom(signature)
    return message


def metadata_json(service: InferenceService, spec: ModelSpec) -> bytes:
    """Return the metadata of a version as formatted by the REST API.

    Raises:
        ServingError: the version does not exist.
    """
    with service.acquire(spec) as servable:
        model_spec = protos.model_pb2.ModelSpec(name=servable.name)
        model_spec.version.value = servable.version
        signatures = _signature_map(servable.signatures)
    return (
        f'{{\n"model_spec":{_proto_json(model_spec)},\n'
        f'"metadata": {{"signature_def": {_proto_json(signatures)}}}\n}}\n'
    ).encode()


def _proto_json(message: Message) -> str:
    text = json_format.MessageToJson(
        message, indent=1, preserving_proto_field_name=True, sort_keys=True, **_PRINT_DEFAULTS
    )
    return f"{text}\n"


def status(models: Models, request: Any) -> Any:
    """Answer a ``GetModelStatusRequest``; a label in it is ignored.

    Raises:
        ServingError: ``NOT_FOUND``: the model or version is unknown.
    """
    spec = read_model_spec(request)
    response = protos.get_model_status_pb2.GetModelStatusResponse()
    for version in models.statuses(spec.name, spec.version):
        response.model_version_status.add(
            version=version.version,
            state=int(version.state),
            status={"error_code": int(version.code), "error_message": version.message},
        )
    return response


def status_json(models: Models, spec: ModelSpec) -> bytes:
    """Return the status of a model as formatted by the REST API; a label is ignored.

    Raises:
        ServingError: ``NOT_FOUND``: the model or version is unknown.
    """
    versions = [
        {
            "version": str(version.version),
            "state": version.state.name,
            "status": {"error_code": version.code.name, "error_message": version.message},
        }
        for version in models.statuses(spec.name, spec.version)
    ]
    text = json.dumps({"model_version_status": versions}, indent=1, ensure_ascii=False)
    return f"{text}\n".encode()


def reload_config(models: Models, request: Any, deadline: float | None = None) -> Any:
    """Answer a ``ReloadConfigRequest``.

    Args:
        models: the served models.
        request: the request proto.
        deadline: deadline of the call.

    Raises:
        ServingError: the configuration is refused, or a new model cannot be served.
    """
    if request.config.WhichOneof("config") != "model_config_list":
        raise invalid_argument(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
            "ModelConfigList is currently supported"
        )
    before = {name: _counter(name) for name in request.metric_names}
    try:
        models.reload(request.config, deadline)
    except ServingError as error:
        _log.error("ReloadConfig failed: %s", error.message)
        raise
    response = protos.model_management_pb2.ReloadConfigResponse()
    response.status.error_code = int(Code.OK)
    for name, value in before.items():
        response.metric.add(name=name, int64_value_increase=_counter(name) - value)
    return response


def _counter(name: str) -> int:
    counter = _COUNTERS.get(name)
    return counter.total() if counter else 0
