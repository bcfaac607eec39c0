"""JSON parsing of requests: orjson, and a tolerant parser for what orjson refuses.

TensorFlow Serving parses with RapidJSON: NaN, Infinity and -Infinity are numbers, nesting depth is
not limited, anything after the first document is ignored, and strings may contain any bytes. Its
messages and offsets are part of the protocol.

Strings are ``str``; bytes that are not UTF-8 are kept as lone surrogates ("surrogateescape").
"""

import json
import math
import re
from typing import Any

import orjson

from serving.protocol.errors import Code, ServingError

#: Limits the memory of a request: a value takes about 70 bytes once parsed, but 2 in the body.
MAX_VALUES = 4_000_000
#: Limits the time of the tolerant parser, which takes about a microsecond per value.
MAX_TOLERANT_VALUES = 1_500_000

_SPACE = re.compile(rb"[ \t\r\n]*")
_CONTROL = re.compile(rb"[\x00-\x1f]")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SPECIAL = re.compile(rb"(-?)(?:(NaN)|Infinity|Inf(?!i))")
_ESCAPE = re.compile(rb'\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt])')
_BACKSLASH = 0x5C
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LITERALS = {b"t": (b"true", True), b"f": (b"false", False), b"n": (b"null", None)}


def parse(body: bytes) -> Any:
    """Parse the first document in ``body``: dicts, lists, str, int, float, bool, None.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: "JSON Parse error: ... at offset: n".
    """
    if not body:
        raise _error("The document is empty")
    if len(body) > 2 * MAX_VALUES and _most_values(body) > MAX_VALUES:
        raise _error(f"The document has more than {MAX_VALUES} values")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _Parser(body).document()


def _most_values(body: bytes) -> int:
    """Return an upper bound for the number of values; commas inside strings count too."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _error(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, f"JSON Parse error: {text}")


class _Parser:
    """A single-pass parser with a stack of open lists and objects."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._position = len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0
        self._values = 0

    def document(self) -> Any:
        """Parse the first document."""
        if self._peek() in (b"", b"\0", b",", b":", b"]", b"}"):
            raise self._error("The document is empty.")
        stack: list[tuple[Any, str | None]] = []
        while True:
            value, opened = self._value()
            if opened:
                if isinstance(value, dict):
                    stack.append((value, self._key()))
                    self._colon()
                else:
                    stack.append((value, None))
                continue
            # The value is complete: add it to its container, and close those that end here.
            while True:
                if not stack:
                    return value
                container, key = stack.pop()
                if key is None:
                    container.append(value)
                else:
                    container.setdefault(key, value)
                if self._more(container):
                    if key is not None:
                        key = self._key()
                        self._colon()
                    stack.append((container, key))
                    break
                value = container

    def _value(self) -> tuple[Any, bool]:
        """Return a value, and whether it is a list or object whose items are still to be read."""
        self._values += 1
        if self._values > MAX_TOLERANT_VALUES:
            raise self._error(f"More than {MAX_TOLERANT_VALUES} values in non-standard JSON.")
        start = self._peek()
        if start == b"[":
            self._position += 1
            return [], not self._closes(b"]")
        if start == b"{":
            self._position += 1
            return {}, not self._closes(b"}")
        if start == b'"':
            return self._string(), False
        if start in _LITERALS:
            word, value = _LITERALS[start]
            if self._body.startswith(word, self._position):
                self._position += len(word)
                return value, False
            raise self._error("Invalid value.")
        return self._number(), False

    def _closes(self, bracket: bytes) -> bool:
        closes = self._peek() == bracket
        self._position += closes
        return closes

    def _more(self, container: Any) -> bool:
        """Return True after a comma, and False after the end of the container."""
        following = self._peek()
        end = b"}" if isinstance(container, dict) else b"]"
        if following not in (b",", end):
            kind = "object member" if end == b"}" else "array element"
            raise self._error(f"Missing a comma or '{end.decode()}' after an {kind}.")
        self._position += 1
        return following == b","

    def _key(self) -> str:
        if self._peek() != b'"':
            raise self._error("Missing a name for object member.")
        return self._string()

    def _colon(self) -> None:
        if self._peek() != b":":
            raise self._error("Missing a colon after a name of object member.")
        self._position += 1

    def _number(self) -> int | float:
        match = _NUMBER.match(self._body, self._position)
        if match is None:
            return self._special_number()
        self._position = match.end()
        following = self._body[match.end() : match.end() + 1]
        if match[2] is None and following in (b"e", b"E"):
            raise self._error("Miss exponent in number.", match.end() + 1)
        if match[1] is None and following == b".":
            raise self._error("Miss fraction part in number.", match.end() + 1)
        if match[1] is None and match[2] is None and len(match[0]) <= 20:
            whole = int(match[0])
            if -(2**63) <= whole < 2**64:
                return whole
        number = float(match[0])
        if math.isinf(number):
            raise self._error("Number too big to be stored in double.", match.start())
        return number

    def _special_number(self) -> float:
        match = _SPECIAL.match(self._body, self._position)
        if match is None:
            raise self._error("Invalid value.")
        self._position = match.end()
        number = math.nan if match[2] else math.inf
        return -number if match[1] else number

    def _string(self) -> str:
        start, end = self._position, self._closing_quote()
        if control := _CONTROL.search(self._body, start, end if end > 0 else len(self._body)):
            if control[0] != b"\0":
                raise self._error("Invalid encoding in string.", control.start())
            end = -1
        if end < 0:
            raise self._error("Missing a closing quotation mark in string.")
        self._position = end + 1
        token = self._body[start : end + 1]
        try:
            return orjson.loads(token)
        except orjson.JSONDecodeError:
            return _unescaped(token, start)

    def _closing_quote(self) -> int:
        """Return the end of the string that starts here; -1 if it has none.

        A regular expression would store a position for every escape.
        """
        body, end = self._body, self._position
        while (end := body.find(b'"', end + 1)) > 0:
            before = end
            while body[before - 1] == _BACKSLASH:
                before -= 1
            if (end - before) % 2 == 0:
                return end
        return -1

    def _peek(self) -> bytes:
        """Return the next byte that is not white space; b"" at the end."""
        space = _SPACE.match(self._body, self._position)
        self._position = space.end() if space else self._position
        return self._body[self._position : self._position + 1]

    def _error(self, text: str, position: int | None = None) -> ServingError:
        offset = self._position if position is None else position
        return _error(f"{text} at offset: {offset}")


def _unescaped(token: bytes, start: int) -> str:
    """Read a string that orjson refuses: it is not UTF-8, or has an invalid escape."""
    readable = token.decode("utf-8", "replace").encode()
    try:
        orjson.loads(readable)
    except orjson.JSONDecodeError:
        raise _wrong_escape(token, start) from None
    return json.loads(token.decode("utf-8", "surrogateescape"))


def _wrong_escape(token: bytes, start: int) -> ServingError:
    position = token.find(b"\\")
    while escape := _ESCAPE.match(token, position):
        position = token.find(b"\\", escape.end())
        if position < 0:
            return _error(f"The surrogate pair in string is invalid. at offset: {start}")
    if token[position + 1 : position + 2] == b"u":
        reason = "Incorrect hex digit after \\u escape in string."
    else:
        reason = "Invalid escape character in string."
    return _error(f"{reason} at offset: {start + position}")
