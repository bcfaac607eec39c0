"""Conversion between ``TensorProto`` and NumPy, without TensorFlow.

Strings are object arrays of ``bytes``; bfloat16 is the dtype of ml_dtypes. Values are read,
repeated and refused as in ``tensorflow::Tensor::FromProto`` (core/framework/tensor.cc).
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from serving.protocol import protos

_TYPES = protos.types_pb2

#: TensorShape::MaxDimensions().
MAX_DIMENSIONS = 254
#: A TensorProto of a few bytes can describe a tensor of any size, as its last value is repeated.
DEFAULT_MAX_BYTES = 256 * 1024 * 1024
_MAX_NUMPY_BYTES = 2**63
#: Each string costs memory even if it is empty: a pointer, a length, and an object in the worker.
STRING_BYTES = 64


@dataclasses.dataclass(frozen=True)
class TensorType:
    """A TensorFlow DataType and its NumPy equivalent.

    Attributes:
        name: name as printed by TensorFlow (DataTypeString).
        dtype: dtype of the NumPy array.
        field: field of ``TensorProto`` that holds the values.
        bits: whether the field holds the raw bits of each value.
    """

    name: str
    dtype: np.dtype
    field: str
    bits: bool = False


def _table() -> dict[int, TensorType]:
    rows = [
        ("DT_FLOAT", "float", np.float32, "float_val"),
        ("DT_DOUBLE", "double", np.float64, "double_val"),
        ("DT_INT32", "int32", np.int32, "int_val"),
        ("DT_UINT8", "uint8", np.uint8, "int_val"),
        ("DT_INT16", "int16", np.int16, "int_val"),
        ("DT_INT8", "int8", np.int8, "int_val"),
        ("DT_STRING", "string", np.object_, "string_val"),
        ("DT_COMPLEX64", "complex64", np.complex64, "scomplex_val"),
        ("DT_INT64", "int64", np.int64, "int64_val"),
        ("DT_BOOL", "bool", np.bool_, "bool_val"),
        ("DT_QINT8", "qint8", np.int8, "int_val"),
        ("DT_QUINT8", "quint8", np.uint8, "int_val"),
        ("DT_QINT32", "qint32", np.int32, "int_val"),
        ("DT_BFLOAT16", "bfloat16", ml_dtypes.bfloat16, "half_val"),
        ("DT_QINT16", "qint16", np.int16, "int_val"),
        ("DT_QUINT16", "quint16", np.uint16, "int_val"),
        ("DT_UINT16", "uint16", np.uint16, "int_val"),
        ("DT_COMPLEX128", "complex128", np.complex128, "dcomplex_val"),
        ("DT_HALF", "half", np.float16, "half_val"),
        ("DT_UINT32", "uint32", np.uint32, "uint32_val"),
        ("DT_UINT64", "uint64", np.uint64, "uint64_val"),
    ]
    return {
        getattr(_TYPES, enum): TensorType(name, np.dtype(dtype), field, field == "half_val")
        for enum, name, dtype, field in rows
    }


TYPES = _table()
STRING = _TYPES.DT_STRING


class TensorError(ValueError):
    """An invalid or unsupported ``TensorProto``."""


class TensorTooLargeError(TensorError):
    """A ``TensorProto`` that describes a tensor above the limit."""


@dataclasses.dataclass(frozen=True, slots=True)
class TensorSize:
    """Size of the tensor that a ``TensorProto`` describes.

    Attributes:
        shape: shape of the tensor.
        count: number of elements.
        size: bytes that the tensor takes, see ``array_bytes``.
        repeats: whether the message has fewer values than the tensor has elements.
    """

    shape: list[int]
    count: int
    size: int
    repeats: bool


def type_name(data_type: int) -> str:
    """Return the name of a DataType as TensorFlow prints it: "float", "int64", "string"."""
    known = TYPES.get(data_type)
    if known is not None:
        return known.name
    try:
        return _TYPES.DataType.Name(data_type).removeprefix("DT_").lower()
    except ValueError:
        return f"unknown dtype enum ({data_type})"


def to_array(proto: Any, max_bytes: int = DEFAULT_MAX_BYTES) -> np.ndarray:
    """Convert a ``TensorProto`` to an array.

    Args:
        proto: the ``TensorProto``.
        max_bytes: maximum size of the array.

    Raises:
        TensorError: the shape is impossible or too large, the type has no values, or the content
            has the wrong length.
    """
    return read(proto, measure(proto, max_bytes))


def measure(proto: Any, max_bytes: int = DEFAULT_MAX_BYTES) -> TensorSize:
    """Return the size of a ``TensorProto`` without expanding it.

    Args:
        proto: the ``TensorProto``.
        max_bytes: maximum size of the tensor.

    Raises:
        TensorError: the shape is impossible, the type has no values, or the content has the wrong
            length.
        TensorTooLargeError: the tensor is larger than ``max_bytes``.
    """
    known = TYPES.get(proto.dtype)
    if known is None:
        raise TensorError(f"no values of type {type_name(proto.dtype)}")
    shape = _shape(proto.tensor_shape)
    count = math.prod(shape)
    without_zeros = math.prod(filter(None, shape))  # NumPy also refuses [2**62, 2**62, 0]
    itemsize = STRING_BYTES if known.field == "string_val" else known.dtype.itemsize
    size, values = count * itemsize, count
    too_large = size > max_bytes or without_zeros * known.dtype.itemsize >= _MAX_NUMPY_BYTES
    if not too_large and count and not proto.tensor_content:
        field = getattr(proto, known.field)
        values = len(field) // 2 if known.dtype.kind == "c" else len(field)
        if known.field == "string_val":
            size = max(size, _string_bytes(field, count))
    elif not too_large and count:
        if known.field == "string_val":
            size = max(size, len(proto.tensor_content))
        elif len(proto.tensor_content) != size:
            raise TensorError(
                f"tensor_content has {len(proto.tensor_content)} bytes for {count} {known.name}"
            )
    if too_large or size > max_bytes:
        raise TensorTooLargeError(f"a tensor of shape {shape} is larger than {max_bytes} bytes")
    return TensorSize(shape, count, size, values < count)


def _string_bytes(values: Any, count: int) -> int:
    """Return the bytes of all strings once the last value is repeated."""
    sent = min(len(values), count)
    total = sum(map(len, itertools.islice(values, sent)))
    return total + (count - sent) * len(values[-1]) if sent else 0


def array_bytes(array: np.ndarray) -> int:
    """Return the bytes that an array takes; a string takes at least ``STRING_BYTES``."""
    if array.dtype != object:
        return array.nbytes
    return max(array.size * STRING_BYTES, sum(map(len, array.flat)))


def read(proto: Any, size: TensorSize) -> np.ndarray:
    """Convert a ``TensorProto`` whose size is allowed to an array.

    Args:
        proto: the ``TensorProto``.
        size: result of ``measure`` for it.

    Raises:
        TensorError: the content has no valid strings.
    """
    known = TYPES[proto.dtype]
    if not size.count:
        return np.empty(size.shape, known.dtype)
    if proto.tensor_content:
        return _from_content(proto.tensor_content, known, size.shape, size.count)
    return _from_field(getattr(proto, known.field), known, size.shape, size.count)


def _shape(proto: Any) -> list[int]:
    if proto.unknown_rank:
        raise TensorError("the rank is unknown")
    shape = [dimension.size for dimension in proto.dim]
    if len(shape) > MAX_DIMENSIONS:
        raise TensorError(f"{len(shape)} dimensions are more than {MAX_DIMENSIONS}")
    if any(size < 0 for size in shape):
        raise TensorError(f"a dimension of {shape} is negative")
    return shape


def _from_content(
    content: bytes, known: TensorType, shape: Sequence[int], count: int
) -> np.ndarray:
    if known.field == "string_val":
        return np.array(_split_strings(content, count), object).reshape(shape)
    return np.frombuffer(content, known.dtype).reshape(shape)


def _split_strings(content: bytes, count: int) -> list[bytes]:
    """Decode TensorFlow's string lists: every length as a varint, then the bytes."""
    if count > len(content):
        raise TensorError("tensor_content ends before its strings")
    lengths, position = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if position >= len(content) or shift > 28:
                raise TensorError("tensor_content has no valid string length")
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise TensorError("tensor_content does not have the length of its strings")
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    return strings


def _from_field(values: Any, known: TensorType, shape: Sequence[int], count: int) -> np.ndarray:
    """Read a typed field: none give zeros, missing ones repeat the last, extra ones are cut."""
    numbers = 2 if known.dtype.kind == "c" else 1
    sent = min(len(values) // numbers, count)
    # Not through a list, which would take ten times the memory of small numbers.
    items = itertools.islice(values, sent * numbers)
    if known.field == "string_val":
        array = np.empty(count, object)
        array[:sent] = list(items)
        array[sent:] = array[sent - 1] if sent else b""
        return array.reshape(shape)
    if known.bits:
        array = np.fromiter(items, np.int32, sent).astype(np.uint16).view(known.dtype)
    elif known.field == "int_val":
        array = np.fromiter(items, np.int32, sent).astype(known.dtype)
    elif numbers == 2:
        part = np.zeros(0, known.dtype).real.dtype
        array = np.fromiter(items, part, 2 * sent).view(known.dtype)
    else:
        array = np.fromiter(items, known.dtype, sent)
    if sent < count:
        last = array[-1:] if sent else np.zeros(1, known.dtype)
        array = np.concatenate([array, np.broadcast_to(last, count - sent)])
    return array.reshape(shape)


def fill_proto(proto: Any, array: np.ndarray, data_type: int) -> None:
    """Write an array to an empty ``TensorProto``, with its values in the typed field.

    Args:
        proto: the ``TensorProto`` to fill.
        array: array of the NumPy type that ``TYPES`` lists for the DataType.
        data_type: DataType of the signature's input or output.
    """
    known = TYPES[data_type]
    proto.dtype = data_type
    dimensions = proto.tensor_shape.dim
    for size in array.shape:
        dimensions.add(size=size)
    flat = array.ravel()
    if known.bits:
        flat = flat.view(np.uint16)
    elif known.dtype.kind == "c":
        flat = np.ascontiguousarray(flat).view(flat.real.dtype)
    getattr(proto, known.field).extend(flat.tolist())
