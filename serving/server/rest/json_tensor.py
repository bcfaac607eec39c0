"""Conversion of predict requests from JSON to tensors, without I/O.

Rows ("instances") are stacked along a new first dimension; columns ("inputs") are whole tensors.
Types come from the signature, shapes from the JSON. Rules and messages are those of TensorFlow
Serving's util/json_tensor.cc.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from serving.protocol import tensors
from serving.protocol.errors import ServingError, invalid_argument
from serving.server.rest import json_debug
from serving.server.rest.json_scalars import (
    Reader,
    decode_base64,
    encoded,
    format_error,
    is_base64,
    reader,
    wrong_type,
)

#: DataType of each input by alias.
InputTypes = Mapping[str, int]

INSTANCES, INPUTS, SIGNATURE_NAME = "instances", "inputs", "signature_name"
_ONE_KEY = (
    f"Not formatted correctly expecting only one of '{INPUTS}' or '{INSTANCES}' keys to exist "
)


def check_object(document: Any) -> dict[str, Any]:
    """Return the document if it is an object.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: it is not an object.
    """
    if not isinstance(document, dict):
        raise format_error(document, "Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """Return the requested signature; "" if the request names none.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: the name is not a string.
    """
    name = document.get(SIGNATURE_NAME, "")
    if not isinstance(name, str):
        raise format_error(
            document, "not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def read_tensors(
    document: Mapping[str, Any], types: InputTypes
) -> tuple[dict[str, np.ndarray], bool]:
    """Read the inputs of a predict request.

    Args:
        document: parsed body.
        types: types of the signature's inputs, in any order; not empty.

    Returns:
        Arrays by alias, and whether the request used rows.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: the document does not match ``types``;
            ``UNIMPLEMENTED``: JSON cannot represent the type of an input.
    """
    if INSTANCES in document:
        if INPUTS in document:
            raise format_error(document, _ONE_KEY)
        instances = document[INSTANCES]
        if not isinstance(instances, list):
            raise format_error(document, f"Expecting '{INSTANCES}' to be an list/array")
        if not instances:
            raise format_error(document, f"No values in '{INSTANCES}' array")
        return _rows(instances, types), True
    if INPUTS in document:
        return _columns(document[INPUTS], types), False
    raise invalid_argument(f"Missing '{INPUTS}' or '{INSTANCES}' key")


def _rows(instances: list[Any], types: InputTypes) -> dict[str, np.ndarray]:
    first = instances[0]
    if not isinstance(first, dict) and len(types) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    if not isinstance(first, dict) or is_base64(first):
        name = min(types)
        if types[name] == tensors.STRING and _all_strings(instances):
            return {name: np.array([encoded(text) for text in instances], object)}
        return {name: _plain_rows(instances, name, types[name])}
    if len(types) == 1:
        name = next(iter(types))
        if types[name] == tensors.STRING and (texts := _named_strings(instances, name)):
            return {name: np.array([encoded(text) for text in texts], object)}
    return _named_rows(instances, types)


def _all_strings(values: Iterable[Any]) -> bool:
    return set(map(type, values)) == {str}


def _named_strings(instances: list[Any], name: str) -> list[str] | None:
    """Return the texts of [{name: text}, ...]; None if the list has another form."""
    keys = {name}
    if all(type(item) is dict and item.keys() == keys for item in instances):
        texts = [item[name] for item in instances]
        return texts if _all_strings(texts) else None
    return None


def _plain_rows(instances: list[Any], name: str, data_type: int) -> np.ndarray:
    stack = _Stack(name, data_type)
    for number, item in enumerate(instances):
        if isinstance(item, dict) and not is_base64(item):
            raise invalid_argument(
                f"Expecting value/list but got object at item {number} of input list"
            )
        try:
            stack.add(item)
        except ServingError as error:
            raise _in_element(number, "", error) from error
    return stack.array()


def _named_rows(instances: list[Any], types: InputTypes) -> dict[str, np.ndarray]:
    stacks = {name: _Stack(name, data_type) for name, data_type in types.items()}
    for number, item in enumerate(instances):
        if not isinstance(item, dict) or is_base64(item):
            raise invalid_argument(f"Expecting object but got list at item {number} of input list")
        for name, value in item.items():
            try:
                if name not in stacks:
                    raise invalid_argument(f"JSON object: does not have named input: {name}")
                stacks[name].add(value)
            except ServingError as error:
                raise _in_element(number, f" key: {name}", error) from error
        if item.keys() != stacks.keys():
            raise invalid_argument(
                f"Failed to process element: {number} of 'instances' list. JSON object: "
                f"{json_debug.quoted(item)} keys must be equal to: {','.join(sorted(stacks))}"
            )
    return {name: stack.array() for name, stack in stacks.items()}


def _in_element(number: int, key: str, error: ServingError) -> ServingError:
    return invalid_argument(
        f"Failed to process element: {number}{key} of 'instances' list. Error: "
        f"{error.code.name}: {error.message}"
    )


class _Stack:
    """Rows of one input. All must have the shape of the first."""

    def __init__(self, name: str, data_type: int) -> None:
        self._name, self._data_type = name, data_type
        self._values: list[Any] = []
        self._rows = self._size = 0
        self._shape: list[int] = []

    def add(self, value: Any) -> None:
        """Add a row."""
        shape = _dense_shape(value, self._name)
        before = len(self._values)
        _fill(value, 0, shape, self._data_type, reader(self._data_type), self._values)
        size = len(self._values) - before
        if not self._rows:
            self._size, self._shape = size, shape
        elif size != self._size:
            raise invalid_argument(f"Expecting tensor size: {self._size} but got: {size}")
        elif shape != self._shape:
            raise invalid_argument(
                f"Expecting shape {_shape_text(self._shape)} but got: {_shape_text(shape)}"
            )
        self._rows += 1

    def array(self) -> np.ndarray:
        """Return all rows as one array."""
        return _array(self._values, [self._rows, *self._shape], self._data_type, self._name)


def _columns(value: Any, types: InputTypes) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or is_base64(value):
        if len(types) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        name, data_type = next(iter(types.items()))
        return {name: _column(value, name, data_type)}
    arrays = {}
    for name, data_type in types.items():
        if name not in value:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
        arrays[name] = _column(value[name], name, data_type)
    return arrays


def _column(value: Any, name: str, data_type: int) -> np.ndarray:
    if data_type == tensors.STRING and type(value) is list and value and _all_strings(value):
        return np.array([encoded(text) for text in value], object)
    shape = _dense_shape(value, name)
    values: list[Any] = []
    _fill(value, 0, shape, data_type, reader(data_type), values)
    return _array(values, shape, data_type, name)


def _dense_shape(value: Any, name: str) -> list[int]:
    """Return the shape given by the first item of each level; [] for a scalar."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > tensors.MAX_DIMENSIONS:
            raise invalid_argument(f"tensor parsing error: {name}")
        if not value:
            break
        value = value[0]
    return shape


def _shape_text(shape: Iterable[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _fill(
    value: Any,
    level: int,
    shape: list[int],
    data_type: int,
    read: Reader,
    values: list[Any],
) -> None:
    """Append the scalars of a nested list, which must have exactly this shape."""
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid_argument(
                f"JSON Value: {json_debug.quoted(value)} found at incorrect level: {level + 1} in "
                f"the JSON DOM. Expected at level: {rank}"
            )
        if isinstance(value, dict):
            if data_type != tensors.STRING:
                wrong_type(value, data_type)
            values.append(decode_base64(value))
        else:
            values.append(read(value))
        return
    if level >= rank:
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
            f"{shape[level]}"
        )
    for item in value:
        _fill(item, level + 1, shape, data_type, read, values)


def _array(values: list[Any], shape: list[int], data_type: int, name: str) -> np.ndarray:
    known = tensors.TYPES.get(data_type)
    if known is None:
        raise invalid_argument(f"tensor parsing error: {name}")
    if data_type == tensors.STRING:
        return np.array(values, object).reshape(shape)
    with np.errstate(over="ignore"):
        if known.field == "int_val":
            return np.array(values, np.int64).astype(known.dtype).reshape(shape)
        return np.array(values, known.dtype).reshape(shape)
