"""Frames between the front process and a worker: a small header and raw tensor buffers.

::

    frame    prefix, header, buffers; each padded to 8 bytes
    prefix   two little-endian uint64: size of the header, size of the buffers, in bytes
    header   JSON: the fields of the message, and "tensors": a list of [name, dtype, shape]
    buffer   numbers: the array's memory, C order
             strings: uint32 lengths, then the concatenated bytes

A frame contains no code (no pickle). One side sends a request and the other responds, so the next
frame is sent only after the previous one was read. Both ends run on the same machine, so buffers
use its byte order.
"""

import math
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

_PREFIX = struct.Struct("<QQ")
#: The frames of most requests arrive in one read.
_FIRST_READ = 1 << 16
_ALIGNMENT = 8
#: sendmsg accepts at most IOV_MAX (1024) buffers.
_MOST_BUFFERS = 512
_STRING = "bytes"


def send(
    connection: socket.socket, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> None:
    """Write one frame.

    Args:
        connection: a blocking stream socket.
        header: JSON-serialisable fields, except "tensors".
        tensors: arrays by name; strings are object arrays of ``bytes``.

    Raises:
        TypeError: an object array contains a value that is not ``bytes``.
        OSError: the other side has closed the connection.
    """
    buffers: list[Any] = []
    described = [_encode(name, array, buffers) for name, array in tensors.items()]
    encoded = orjson.dumps({**header, "tensors": described})
    encoded += b" " * _padding(len(encoded))
    prefix = _PREFIX.pack(len(encoded), sum(map(len, buffers)))
    _send_all(connection, [prefix + encoded, *buffers])


def receive(connection: socket.socket) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read one frame.

    Returns:
        The header without "tensors", and the arrays by name, which share the memory of the frame
        and may be read-only.

    Raises:
        EOFError: the other side closed the connection, or died, before the end of the frame.
    """
    frame = _receive_frame(connection)
    header_bytes, _ = _PREFIX.unpack_from(frame)
    offset = _PREFIX.size + header_bytes
    view = memoryview(frame)
    header = orjson.loads(view[_PREFIX.size : offset])
    tensors = {}
    for name, dtype, shape in header.pop("tensors"):
        tensors[name], offset = _decode(frame, offset, dtype, shape)
    return header, tensors


def _padding(size: int) -> int:
    return -size % _ALIGNMENT


def _encode(name: str, array: np.ndarray, buffers: list[Any]) -> list[Any]:
    """Append an array's buffers and return its description."""
    shape = list(array.shape)
    if array.dtype == object:
        strings = array.reshape(-1).tolist()
        lengths = np.fromiter(map(len, strings), np.uint32, len(strings))
        _append(buffers, lengths.tobytes() + b"".join(strings))
        return [name, _STRING, shape]
    if array.size:
        _append(buffers, np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return [name, array.dtype.name, shape]


def _append(buffers: list[Any], buffer: Any) -> None:
    buffers.append(buffer)
    if padding := _padding(len(buffer)):
        buffers.append(bytes(padding))


def _send_all(connection: socket.socket, buffers: Sequence[Any]) -> None:
    if len(buffers) > _MOST_BUFFERS:
        buffers = [b"".join(bytes(buffer) for buffer in buffers)]
    total = sum(map(len, buffers))
    sent = connection.sendmsg(buffers)
    if sent == total:
        return
    for buffer in buffers:
        size = len(buffer)
        if sent >= size:
            sent -= size
            continue
        connection.sendall(memoryview(buffer)[sent:])
        sent = 0


def _receive_frame(connection: socket.socket) -> bytes | bytearray:
    first = connection.recv(_FIRST_READ)
    while first and len(first) < _PREFIX.size:
        more = connection.recv(_FIRST_READ)
        first = first + more if more else b""
    if not first:
        raise EOFError("the other side closed the connection")
    total = _PREFIX.size + sum(_PREFIX.unpack_from(first))
    if len(first) == total:
        return first
    frame = bytearray(total)
    frame[: len(first)] = first
    view, filled = memoryview(frame), len(first)
    while filled < total:
        count = connection.recv_into(view[filled:])
        if not count:
            raise EOFError("the other side closed the connection within a frame")
        filled += count
    return frame


def _decode(
    frame: bytes | bytearray, offset: int, dtype: str, shape: list[int]
) -> tuple[np.ndarray, int]:
    """Return an array of the frame, and the offset after it."""
    size = math.prod(shape)
    if dtype == _STRING:
        return _decode_strings(frame, offset, size, shape)
    numpy_dtype = _dtype(dtype)
    array = np.frombuffer(frame, numpy_dtype, size, offset) if size else np.empty(0, numpy_dtype)
    used = size * numpy_dtype.itemsize
    return array.reshape(shape), offset + used + _padding(used)


def _decode_strings(
    frame: bytes | bytearray, offset: int, size: int, shape: list[int]
) -> tuple[np.ndarray, int]:
    lengths = np.frombuffer(frame, np.uint32, size, offset).tolist() if size else []
    position = offset + 4 * size
    strings = np.empty(size, object)
    for index, length in enumerate(lengths):
        strings[index] = bytes(frame[position : position + length])
        position += length
    return strings.reshape(shape), position + _padding(position - offset)


def _dtype(name: str) -> np.dtype:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes  # defines bfloat16 and the float8 family

        return np.dtype(getattr(ml_dtypes, name))
