import json
import math
import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol.errors import ServingError
from serving.server.rest import json_reader

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


def _tolerant(body: bytes) -> object:
    """Parse a body with the tolerant parser, even if orjson accepts it."""
    return json_reader._Parser(body).document()


@given(JSON)
def test_tolerant_parser_agrees_with_orjson(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        body = text.encode("utf-8", "surrogatepass")
        try:
            expected = orjson.loads(body)
        except orjson.JSONDecodeError:
            continue
        assert _tolerant(body) == expected
        assert json_reader.parse(body) == expected


_ALMOST_JSON = st.text('[]{}",:\\0123e.-+tfnNaIu \n', max_size=60).map(str.encode)


def _refusal(body: bytes) -> str:
    try:
        json_reader.parse(body)
    except ServingError as error:
        return error.message
    return ""


@given(st.binary(max_size=60) | _ALMOST_JSON)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    message = _refusal(body)
    assert message == "" or message.startswith("JSON Parse error: ")


def test_nan_infinity_and_any_bytes_are_read() -> None:
    body = b'{"a": NaN, "b": [-Infinity, Inf, -NaN], "c": "x\xff\\n"} and more'
    value = json_reader.parse(body)
    assert math.isnan(value["a"])
    assert value["b"][:2] == [-math.inf, math.inf]
    assert value["c"].encode("utf-8", "surrogateescape") == b"x\xff\n"


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", float(2**64)),
        (b"-9223372036854775808", -(2**63)),
        (b"-9223372036854775809", float(-(2**63) - 1)),
        (b"1.0", 1.0),
        (b"-0", 0),
        (b"1E2", 100.0),
        (b"1e-400", 0.0),
    ],
)
def test_number_is_read_like_rapidjson(number: bytes, value: float) -> None:
    for read in (json_reader.parse, _tolerant):
        result = read(number)
        assert (result, type(result)) == (value, type(value))


def test_deep_nesting_is_read() -> None:
    depth = 100_000
    value = json_reader.parse(b"[" * depth + b"]" * depth)
    levels = 1
    while value:
        value, levels = value[0], levels + 1
    assert levels == depth


def test_too_many_values_are_refused_before_they_are_parsed() -> None:
    body = b"[" + b"0," * (json_reader.MAX_VALUES + 1) + b"0]"
    with pytest.raises(ServingError, match="has more than 4000000 values"):
        json_reader.parse(body)


def test_tolerant_parsing_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json_reader.MAX_TOLERANT_VALUES == 1_500_000
    monkeypatch.setattr(json_reader, "MAX_TOLERANT_VALUES", 1_000)
    json_reader.parse(b"[NaN" + b",0" * 998 + b"]")  # the list counts as a value
    with pytest.raises(ServingError, match="More than 1000 values"):
        json_reader.parse(b"[NaN" + b",0" * 999 + b"]")


def test_tolerant_parser_keeps_the_first_of_two_equal_keys() -> None:
    assert json_reader.parse(b'{"a": 1, "a": NaN}') == {"a": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'"\\n\\q"', "Invalid escape character in string. at offset: 3"),
        (
            b'["a\\\\", "\\u00e9\\u12x4"]',
            "Incorrect hex digit after \\u escape in string. at offset: 15",
        ),
        (b'"\\ud83d\\ude00 \\ude00"', "The surrogate pair in string is invalid. at offset: 0"),
        (b'"\xff\\q"', "Invalid escape character in string. at offset: 2"),
    ],
)
def test_invalid_escape_is_refused(body: bytes, message: str) -> None:
    assert _refusal(body) == f"JSON Parse error: {message}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"' + b"x" * 16_000_000 + b'\xff"}',
        b'{"a":"' + b"\\n" * 8_000_000 + b'\xff"}',
        b'{"a":"' + b"\\u0041" * 2_000_000 + b'\\ud800"}',
        b'{"a":"' + b"\\\\" * 8_000_000,
    ],
)
def test_reading_a_long_string_needs_a_few_times_its_memory(body: bytes) -> None:
    json_reader.parse(b"[NaN]")  # exclude one-time allocations
    tracemalloc.start()
    try:
        _refusal(body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20 * len(body)  # orjson allocates 12 times its size
