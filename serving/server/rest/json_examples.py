"""Conversion of classify and regress requests from JSON to tf.Examples, without I/O.

Decimal numbers become float features; whole numbers and booleans become int64 features; strings and
{"b64": "..."} become bytes features. All values of a feature have the same kind. Rules and messages
are those of util/json_tensor.cc.
"""

from collections.abc import Mapping
from typing import Any

from serving.protocol import protos
from serving.protocol.errors import invalid_argument
from serving.server.rest import json_debug
from serving.server.rest.json_scalars import decode_base64, encoded, format_error, is_base64

_CONTEXT, _EXAMPLES = "context", "examples"
_MAX_INT64 = 2**63 - 1


def read_input(document: Mapping[str, Any]) -> Any:
    """Read the examples of a body, and their context, into an ``Input`` proto.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: the body has no examples, or an invalid one.
    """
    message = protos.input_pb2.Input()
    if _CONTEXT in document:
        examples = message.example_list_with_context
        _fill_example(document[_CONTEXT], examples.context)
    else:
        examples = message.example_list
    items = document.get(_EXAMPLES)
    if _EXAMPLES not in document:
        raise format_error(
            document, "When method is classify, key 'examples' is expected and was not found"
        )
    if not isinstance(items, list):
        raise format_error(document, "Expecting 'examples' value to be an list/array")
    if not items:
        raise format_error(document, "'examples' value is an empty array")
    for item in items:
        _fill_example(item, examples.examples.add())
    return message


def _fill_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid_argument(
            f"Example must be JSON object but got JSON {json_debug.type_name(value)}"
        )
    example.SetInParent()
    for name, content in value.items():
        feature = example.features.feature[encoded(name).decode("utf-8", "replace")]
        for item in content if isinstance(content, list) else [content]:
            kind, scalar = _feature_value(item, name)
            if (first := feature.WhichOneof("kind")) not in (None, kind):
                raise invalid_argument(
                    f"Unexpected element type in feature: {name} expecting type: "
                    f"{first.removesuffix('_list')}"
                )
            getattr(feature, kind).value.append(scalar)


def _feature_value(value: Any, name: str) -> tuple[str, Any]:
    """Return the field of ``Feature`` for a value, and the converted value."""
    if type(value) is bool:
        return "int64_list", int(value)
    if type(value) is int:
        if value > _MAX_INT64:
            raise invalid_argument(
                f"Feature: {name} has uint64_t element. Only int64_t is supported."
            )
        return "int64_list", value
    if type(value) is float:
        return "float_list", value
    if type(value) is str:
        return "bytes_list", encoded(value)
    if is_base64(value):
        return "bytes_list", decode_base64(value)
    raise invalid_argument(
        f"Feature: {name} has element with unexpected JSON type: {json_debug.type_name(value)}"
    )
