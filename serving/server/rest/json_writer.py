"""JSON responses with TensorFlow Serving's layout and number format.

Indents are four spaces, rows of numbers are on one line, and floats have six significant digits if
these restore the number. The output equals that of RapidJSON's PrettyWriter byte for byte.
"""

import base64
import functools
import itertools
import re
import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import orjson

from serving.protocol import tensors
from serving.protocol.errors import invalid_argument

_INDENT = "    "
_DIGITS = {"f4": ".9g", "f8": ".17g"}
_PACKED = {"f4": struct.Struct("f"), "f8": struct.Struct("d")}
#: Up to this many numbers, Python is faster than NumPy.
_FEW = 24
_NOT_FINITE = {"nan": "NaN", "-nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_ESCAPED = re.compile('["\\\\\x00-\x1f]')
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}
_BYTES_SUFFIX = "_bytes"
#: Array and DataType of each output by alias.
Outputs = Mapping[str, tuple[np.ndarray, int]]

#: DataTypes that TensorFlow Serving can write as JSON (AddSingleValueAndAdvance).
_WRITABLE = frozenset(
    (
        *("float", "double", "int8", "int16", "int32", "int64"),
        *("uint8", "uint32", "uint64", "bool", "string"),
    )
)


def float_texts(values: np.ndarray) -> list[str]:
    """Format all numbers of a float32 or float64 array, flattened."""
    numbers = values.ravel().tolist()
    kind = values.dtype.str[1:]
    texts = [f"{number:.6g}" for number in numbers]
    if len(numbers) <= _FEW:
        pack = _PACKED[kind].pack
        kept = [pack(float(text)) == pack(x) for text, x in zip(texts, numbers, strict=True)]
    else:
        read = np.array([float(text) for text in texts]).astype(values.dtype)
        kept = (read == values.ravel()).tolist()
    full = _DIGITS[kind]
    return [
        (text if "." in text or "e" in text else _whole(text)) if same else _long(number, full)
        for text, same, number in zip(texts, kept, numbers, strict=True)
    ]


def _long(number: float, digits: str) -> str:
    text = format(number, digits)
    return text if "." in text or "e" in text else _whole(text)


def _whole(text: str) -> str:
    return _NOT_FINITE.get(text) or f"{text}.0"


def string_text(value: bytes | str) -> str:
    """Format a JSON string; bytes that are not UTF-8 are kept as lone surrogates."""
    try:
        return orjson.dumps(value.decode() if isinstance(value, bytes) else value).decode()
    except (UnicodeDecodeError, orjson.JSONEncodeError):
        text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
        return f'"{_ESCAPED.sub(_escape, text)}"'


@functools.lru_cache(maxsize=1024)
def _key(name: str) -> str:
    """Format the name of an output, cached because it recurs in every response."""
    return f"{string_text(name)}: "


def _escape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04X}"


def encode(text: str) -> bytes:
    """Encode a document."""
    return text.encode("utf-8", "surrogateescape")


def _value_texts(array: np.ndarray, data_type: int) -> list[str]:
    """Format all values of an array, flattened."""
    if data_type == tensors.STRING:
        return [string_text(value) for value in array.ravel().tolist()]
    if array.dtype.kind == "f":
        return float_texts(array)
    if array.dtype.kind == "b":
        return ["true" if value else "false" for value in array.ravel().tolist()]
    return [str(value) for value in array.ravel().tolist()]


def _base64_texts(array: np.ndarray, level: int) -> list[str]:
    """Format all strings as objects {"b64": ...}, indented by ``level``."""
    opening, closing = f'{{\n{_INDENT * (level + 1)}"b64": "', f'"\n{_INDENT * level}}}'
    return [
        opening + base64.b64encode(value).decode() + closing for value in array.ravel().tolist()
    ]


def _texts(name: str, array: np.ndarray, data_type: int, level: int) -> list[str]:
    known = tensors.TYPES.get(data_type)
    if known is None or known.name not in _WRITABLE:
        raise invalid_argument(
            "Failed to write JSON value for tensor type: " + tensors.type_name(data_type)
        )
    if data_type == tensors.STRING and name.endswith(_BYTES_SUFFIX):
        return _base64_texts(array, level)
    return _value_texts(array, data_type)


def _row(texts: Iterator[str], shape: Sequence[int]) -> str:
    """Format the next value of a shape on one line: "[[1, 2], [3, 4]]"."""
    if not shape:
        return next(texts)
    if len(shape) == 1:
        return f"[{', '.join(itertools.islice(texts, shape[0]))}]"
    return f"[{', '.join(_row(texts, shape[1:]) for _ in range(shape[0]))}]"


def _rows(texts: list[str], shape: Sequence[int], count: int) -> list[str]:
    """Format ``count`` values of a shape, each on one line."""
    if not shape:
        return texts
    if len(shape) == 1:
        size = shape[0]
        return [f"[{', '.join(texts[row * size : (row + 1) * size])}]" for row in range(count)]
    flat = iter(texts)
    return [_row(flat, shape) for _ in range(count)]


def _column(texts: Iterator[str], shape: Sequence[int], level: int) -> str:
    """Format the next value of a shape with each item on its own line, indented by ``level``."""
    if not shape:
        return next(texts)
    if not shape[0]:
        return "[]"
    inner = _INDENT * (level + 1)
    items = (inner + _column(texts, shape[1:], level + 1) for _ in range(shape[0]))
    return "[\n" + ",\n".join(items) + f"\n{_INDENT * level}]"


def predictions(outputs: Outputs) -> bytes:
    """Format the response to "instances": one item for each row of the outputs.

    Args:
        outputs: array[batch, ...] and its DataType by alias.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: there are no outputs, one is a scalar, their batch sizes
            differ, or a type cannot be written as JSON.
    """
    size = _batch_size(outputs)
    named = len(outputs) > 1
    columns = []
    for name, (array, data_type) in sorted(outputs.items()):
        shape = array.shape[1:]
        level = 2 + named + len(shape)
        columns.append((_key(name), _rows(_texts(name, array, data_type, level), shape, size)))
    if not size:
        return b'{\n    "predictions": []\n}'
    if not named:
        return encode(f'{{\n    "predictions": [{", ".join(columns[0][1])}\n    ]\n}}')
    lines = zip(*([key + row for row in rows] for key, rows in columns), strict=True)
    separator = f",\n{_INDENT * 3}"
    items = (
        f"{_INDENT * 2}{{\n{_INDENT * 3}{separator.join(line)}\n{_INDENT * 2}}}" for line in lines
    )
    return encode('{\n    "predictions": [\n' + ",\n".join(items) + "\n    ]\n}")


def _batch_size(outputs: Outputs) -> int:
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    size = -1
    for name, (array, _) in sorted(outputs.items()):
        if not array.ndim:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if size not in (-1, len(array)):
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}"
            )
        size = len(array)
    return size


def columns(outputs: Outputs) -> bytes:
    """Format the response to "inputs": each output as a whole. See ``predictions``.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: there are no outputs, or a type cannot be written.
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    level = 1 if len(outputs) == 1 else 2
    texts = {
        name: _column(iter(_texts(name, array, data_type, level + array.ndim)), array.shape, level)
        for name, (array, data_type) in sorted(outputs.items())
    }
    if len(texts) == 1:
        return encode(f'{{\n    "outputs": {next(iter(texts.values()))}\n}}')
    members = (f"{_INDENT * 2}{string_text(name)}: {text}" for name, text in texts.items())
    return encode('{\n    "outputs": {\n' + ",\n".join(members) + "\n    }\n}")


def classifications(rows: Sequence[tuple[Sequence[bytes], np.ndarray]]) -> bytes:
    """Format the response to classify: labels and float32 scores for each example.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: there are no rows.
    """
    if not rows:
        raise invalid_argument("Cannot convert empty ClassificationResults to JSON")
    items = (
        "[" + ", ".join(f"[{string_text(label)}, {score}]" for label, score in pairs) + "]"
        for pairs in (zip(labels, float_texts(scores), strict=True) for labels, scores in rows)
    )
    return encode(f'{{\n    "results": [{", ".join(items)}\n    ]\n}}')


def regressions(values: np.ndarray) -> bytes:
    """Format the response to regress: float32[examples].

    Raises:
        ServingError: ``INVALID_ARGUMENT``: there are no values.
    """
    if not len(values):
        raise invalid_argument("Cannot convert empty RegressionResults to JSON")
    return encode(f'{{\n    "results": [{", ".join(float_texts(values))}]\n}}')


def error(message: str) -> bytes:
    """Format the body of an error response."""
    return encode(f'{{\n    "error": {string_text(message)}\n}}')
