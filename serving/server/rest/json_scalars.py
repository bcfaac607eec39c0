"""Conversion of JSON scalars to tensor values: numbers, booleans, strings and {"b64": "..."}.

Integers must be in the range in which TensorFlow Serving reads them (util/json_tensor.cc): int8,
int16 and uint8 are read as int32 and wrap around.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Any, NoReturn

from serving.protocol import tensors
from serving.protocol.errors import Code, ServingError, invalid_argument
from serving.server.rest import json_debug

#: Function that converts a JSON scalar to a value of one DataType, or raises ``ServingError``.
Reader = Callable[[Any], Any]

_BASE64_KEYS = {"b64"}


def format_error(value: Any, text: str) -> ServingError:
    """Return an ``INVALID_ARGUMENT`` error that quotes a value."""
    return invalid_argument(f"JSON Value: {json_debug.quoted(value)} {text}")


def is_base64(value: Any) -> bool:
    """Return whether the value is {"b64": "..."}."""
    return isinstance(value, dict) and value.keys() == _BASE64_KEYS and type(value["b64"]) is str


def decode_base64(value: Any) -> bytes:
    """Decode {"b64": "..."}; padding is optional.

    Raises:
        ServingError: ``INVALID_ARGUMENT``.
    """
    if not is_base64(value):
        raise format_error(value, "not formatted correctly for base64 data")
    text = value["b64"].translate(_NO_SPACE)
    bare = text.rstrip("=")
    if len(text) != len(bare) and len(text) % 4:
        raise invalid_argument("Unable to base64 decode")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("Unable to base64 decode") from None


_NO_SPACE = dict.fromkeys(map(ord, " \t\n\v\f\r"))


def reader(data_type: int) -> Reader:
    """Return the function that reads scalars of a DataType."""
    return _READERS.get(data_type) or _unimplemented(data_type)


def encoded(text: str) -> bytes:
    """Return the bytes of a string that ``json_reader`` returned."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")


def wrong_type(value: Any, data_type: int) -> NoReturn:
    """Refuse a value that does not have the expected type.

    Raises:
        ServingError: ``INVALID_ARGUMENT``, always.
    """
    raise format_error(
        value,
        f"Type: {json_debug.type_name(value)} is not of expected type: "
        f"{tensors.type_name(data_type)}",
    )


def _number_reader(data_type: int) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not float and type(value) is not int:
            wrong_type(value, data_type)
        return value

    return read


def _integer_reader(data_type: int, low: int, high: int) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not int or not low <= value <= high:
            wrong_type(value, data_type)
        return value

    return read


def _bool_reader(data_type: int) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not bool:
            wrong_type(value, data_type)
        return value

    return read


def _string_reader(data_type: int) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not str:
            wrong_type(value, data_type)
        return encoded(value)

    return read


def _unimplemented(data_type: int) -> Reader:
    def read(value: Any) -> Any:
        raise ServingError(
            Code.UNIMPLEMENTED,
            f"Conversion of JSON Value: {json_debug.quoted(value)} to type: "
            f"{tensors.type_name(data_type)}",
        )

    return read


def _readers() -> dict[int, Reader]:
    by_name = {known.name: data_type for data_type, known in tensors.TYPES.items()}
    readers = {by_name[name]: _number_reader(by_name[name]) for name in ("float", "double")}
    for name in ("int32", "int16", "int8", "uint8"):
        readers[by_name[name]] = _integer_reader(by_name[name], -(2**31), 2**31 - 1)
    readers[by_name["int64"]] = _integer_reader(by_name["int64"], -(2**63), 2**63 - 1)
    readers[by_name["uint32"]] = _integer_reader(by_name["uint32"], 0, 2**32 - 1)
    readers[by_name["uint64"]] = _integer_reader(by_name["uint64"], 0, 2**64 - 1)
    readers[by_name["bool"]] = _bool_reader(by_name["bool"])
    readers[by_name["string"]] = _string_reader(by_name["string"])
    return readers


_READERS = _readers()
