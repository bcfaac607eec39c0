"""Request and response bodies of TensorFlow Serving's REST API, without I/O.

Tensors are sent in columns, ``{"inputs": {name: values}}`` and ``{"outputs": {name: values}}``,
because rows would repeat the name of every output for every text.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from google.protobuf import json_format

from serving.client.errors import UnexpectedAnswerError
from serving.client.signature_metadata import ModelMetadata, SignatureMetadata, make_signatures
from serving.protocol.errors import Code
from serving.protocol.protos import meta_graph_pb2
from serving.protocol.servable import State, VersionStatus

_STATES = {state.name: state for state in State}


def write_texts(texts: Sequence[bytes], input_name: str, signature: str) -> bytes:
    """Return the body of a predict call for UTF-8 texts."""
    values = [text.decode("utf-8") for text in texts]
    return orjson.dumps({"signature_name": signature, "inputs": {input_name: values}})


def write_tensors(inputs: Mapping[str, np.ndarray], signature: str) -> bytes:
    """Return the body of a predict call, with ``NaN`` and ``Infinity`` for such numbers."""
    columns = {name: _to_json(array.tolist()) for name, array in inputs.items()}
    return json.dumps({"signature_name": signature, "inputs": columns}).encode()


def read_json(body: bytes, server: str) -> dict[str, Any]:
    """Parse a JSON object that may contain NaN and infinities.

    Raises:
        UnexpectedAnswerError: the body is not a JSON object.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(body)  # accepts NaN
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise UnexpectedAnswerError(f"{server} did not return a JSON object: {_start(body)}")
    return value


def read_error(body: bytes) -> str:
    """Return the message in an error body; "" if it is not an error of TensorFlow Serving."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, str) else ""


def read_columns(body: bytes, server: str) -> dict[str, Any]:
    """Return outputs by name, as lists. REST does not name a single output; its key is "".

    Raises:
        UnexpectedAnswerError: the body has no outputs.
    """
    outputs = read_json(body, server).get("outputs")
    if outputs is None:
        raise UnexpectedAnswerError(f"{server} returned no 'outputs': {_start(body)}")
    return outputs if isinstance(outputs, dict) else {"": outputs}


def read_tensors(
    body: bytes, signature: SignatureMetadata, wanted: Sequence[str], server: str
) -> dict[str, np.ndarray]:
    """Return outputs by name, as arrays of the signature's types.

    Args:
        body: response to a predict call.
        signature: signature that was called.
        wanted: names of the outputs to return; empty returns all.
        server: URL for error messages.

    Raises:
        UnexpectedAnswerError: the outputs do not match the signature.
    """
    columns = read_columns(body, server)
    if list(columns) == [""]:
        columns = dict(zip(signature.outputs, columns.values(), strict=False))
    unknown = sorted(set(columns) ^ set(signature.outputs))
    if unknown:
        names = ", ".join(unknown)
        raise UnexpectedAnswerError(
            f"the response of {server} does not match the model's signature: {names}"
        )
    arrays = {}
    for name in wanted or columns:
        dtype = signature.outputs[name].numpy_dtype
        try:
            arrays[name] = np.array(_from_json(columns[name]), dtype=dtype)
        except (ValueError, TypeError) as error:
            raise UnexpectedAnswerError(f"{server}: output {name} is not {dtype}") from error
    return arrays


def read_metadata(body: bytes, server: str) -> ModelMetadata:
    """Read the response of ``/metadata``.

    Raises:
        UnexpectedAnswerError: the body has another structure.
    """
    answer = read_json(body, server)
    try:
        spec = answer["model_spec"]
        definitions = answer["metadata"]["signature_def"]["signature_def"]
        protos = {
            key: json_format.ParseDict(
                value, meta_graph_pb2.SignatureDef(), ignore_unknown_fields=True
            )
            for key, value in definitions.items()
        }
        return ModelMetadata(spec["name"], int(spec["version"]), make_signatures(protos))
    except (KeyError, TypeError, AttributeError, ValueError, json_format.ParseError) as error:
        raise UnexpectedAnswerError(f"{server} returned no metadata: {_start(body)}") from error


def read_status(body: bytes, server: str) -> list[VersionStatus]:
    """Read the response of ``/v1/models/NAME``.

    Raises:
        UnexpectedAnswerError: the body has another structure.
    """
    try:
        return [
            VersionStatus(
                version=int(entry["version"]),
                state=_STATES.get(entry["state"], State.UNKNOWN),
                code=Code[entry["status"].get("error_code", "OK")],
                message=entry["status"].get("error_message", ""),
            )
            for entry in read_json(body, server)["model_version_status"]
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnexpectedAnswerError(f"{server} returned no status: {_start(body)}") from error


def _to_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"])
    return value.encode("utf-8") if isinstance(value, str) else value


def _start(body: bytes) -> str:
    return repr(body[:60].decode("utf-8", "replace"))
