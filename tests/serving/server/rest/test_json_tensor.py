"""The JSON codec, for cases that the conformance suite cannot show with half_plus_two."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol import protos
from serving.protocol.errors import Code, ServingError
from serving.server.rest import json_reader, json_tensor, json_writer

T = protos.types_pb2
BOOL, FLOAT, INT8, INT32, INT64, STRING, UINT32, UINT64, UINT8 = (
    T.DT_BOOL,
    T.DT_FLOAT,
    T.DT_INT8,
    T.DT_INT32,
    T.DT_INT64,
    T.DT_STRING,
    T.DT_UINT32,
    T.DT_UINT64,
    T.DT_UINT8,
)


def _read(body: object, **types: int) -> dict[str, object]:
    arrays, _ = json_tensor.read_tensors(json_reader.parse(json.dumps(body).encode()), types)
    return {name: array.tolist() for name, array in arrays.items()}


def _refusal(body: object, **types: int) -> str:
    with pytest.raises(ServingError) as caught:
        _read(body, **types)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize(
    ("body", "tensor"),
    [
        ({"instances": ["a", "é"]}, [b"a", "é".encode()]),
        ({"instances": [{"b64": "aGVsbG8="}]}, [b"hello"]),
        ({"instances": [{"b64": "aGVsbG8"}, {"b64": ""}]}, [b"hello", b""]),
        ({"instances": [[{"b64": "aGVsbG8="}], ["x"]]}, [[b"hello"], [b"x"]]),
        ({"instances": [{"text": {"b64": "aGVsbG8="}}]}, [b"hello"]),
        ({"instances": [{"text": "a"}, {"text": "b"}]}, [b"a", b"b"]),
        ({"inputs": ["a", "b"]}, [b"a", b"b"]),
        ({"inputs": {"b64": "aGVsbG8="}}, b"hello"),
        ({"inputs": {"text": {"b64": "aGVsbG8="}}}, b"hello"),
        ({"inputs": {"text": [["a"], ["b"]]}}, [[b"a"], [b"b"]]),
        ({"inputs": "a"}, b"a"),
    ],
)
def test_strings_are_read(body: object, tensor: object) -> None:
    assert _read(body, text=STRING) == {"text": tensor}


def test_bytes_that_are_not_utf8_are_kept() -> None:
    document = json_reader.parse(b'{"instances": ["a\xff\xfe"]}')
    arrays, _ = json_tensor.read_tensors(document, {"text": STRING})
    assert arrays["text"].tolist() == [b"a\xff\xfe"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"instances": ["a", 1]}, "JSON Value: 1 Type: Number is not of expected type: string"),
        ({"instances": [{"b64": "*"}]}, "Unable to base64 decode"),
        ({"instances": [{"b64": "aGVsbG8=="}]}, "Unable to base64 decode"),
        (
            {"instances": [[{"b64": 1}]]},
            'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data',
        ),
        ({"inputs": {"text": {"b64": "a", "c": 1}}}, "not formatted correctly for base64 data"),
        ({"instances": [{"b64": "YQ=="}, {"text": "a"}]}, "Expecting value/list but got object"),
    ],
)
def test_invalid_strings_are_refused(body: object, message: str) -> None:
    assert message in _refusal(body, text=STRING)


@pytest.mark.parametrize(
    ("data_type", "good", "bad"),
    [
        (INT32, [0, 2**31 - 1, -(2**31)], [1.0, 2**31, "1", True, None]),
        (INT64, [2**63 - 1, -(2**63)], [2**63, 0.5]),
        (UINT32, [0, 2**32 - 1], [-1, 2**32]),
        (UINT64, [0, 2**64 - 1], [-1, 1.0]),
        (BOOL, [True, False], [0, 1, "true"]),
        (FLOAT, [1, 0.5, 2**64 - 1], [True, "1", None]),
    ],
)
def test_each_type_accepts_only_its_scalars(data_type: int, good: list, bad: list) -> None:
    values = _read({"instances": good}, x=data_type)["x"]
    assert values == (good if data_type != FLOAT else [1.0, 0.5, float(2**64)])
    for value in bad:
        assert "is not of expected type" in _refusal({"instances": [value]}, x=data_type)


def test_small_integers_wrap_around() -> None:
    assert _read({"instances": [127, 128, 255]}, x=INT8) == {"x": [127, -128, -1]}
    assert _read({"instances": [255, 256]}, x=UINT8) == {"x": [255, 0]}


@pytest.mark.parametrize("data_type", [T.DT_HALF, T.DT_BFLOAT16, T.DT_UINT16, T.DT_COMPLEX64])
def test_type_without_a_json_representation_is_refused(data_type: int) -> None:
    with pytest.raises(ServingError) as caught:
        _read({"inputs": [1]}, x=data_type)
    assert caught.value.code is Code.UNIMPLEMENTED
    assert caught.value.message.startswith("Conversion of JSON Value: 1 to type: ")
    array = np.zeros(1, np.float16)
    with pytest.raises(ServingError, match="Failed to write JSON value for tensor type: "):
        json_writer.predictions({"x": (array, data_type)})


def test_named_inputs_are_read_from_rows() -> None:
    rows = [{"a": [1, 2], "b": "x"}, {"b": "y", "a": [3, 4]}]
    assert _read({"instances": rows}, a=INT32, b=STRING) == {
        "a": [[1, 2], [3, 4]],
        "b": [b"x", b"y"],
    }


def test_named_inputs_are_read_from_columns() -> None:
    columns = {"a": [[1, 2], [3, 4]], "b": "x"}
    assert _read({"inputs": columns}, a=INT32, b=STRING) == {"a": [[1, 2], [3, 4]], "b": b"x"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"instances": [1, 2]}, "instances is a plain list, but expecting list of objects"),
        ({"instances": [{"a": 1, "b": "x"}, [1]]}, "Expecting object but got list at item 1"),
        ({"instances": [{"a": 1}]}, "keys must be equal to: a,b"),
        (
            {"instances": [{"a": [1], "b": "x"}, {"a": [1, 2], "b": "x"}]},
            "Failed to process element: 1 key: a of 'instances' list. Error: INVALID_ARGUMENT: "
            "Expecting tensor size: 1 but got: 2",
        ),
        (
            {"instances": [{"a": [[1], [2]], "b": "x"}, {"a": [1, 2], "b": "x"}]},
            "Expecting shape [2,1] but got: [2]",
        ),
        ({"inputs": [1]}, "inputs is a plain value/list, but expecting an object"),
        ({"inputs": {"a": 1}}, "Missing named input: b in 'inputs' object."),
    ],
)
def test_invalid_named_inputs_are_refused(body: object, message: str) -> None:
    assert message in _refusal(body, a=INT32, b=STRING)


def test_nesting_deeper_than_a_tensor_is_refused() -> None:
    body = b'{"inputs": ' + b"[" * 300 + b"1" + b"]" * 300 + b"}"
    with pytest.raises(ServingError, match="tensor parsing error: x"):
        json_tensor.read_tensors(json_reader.parse(body), {"x": FLOAT})


def _float32(value: float) -> np.ndarray:
    return np.array([value], np.float32)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9000000, "9e+06"),
        (999999, "999999.0"),
        (1000000, "1e+06"),
        (0.5, "0.5"),
        (3e-5, "3e-05"),
        (0.1, "0.1"),
        (1 / 3, "0.333333343"),
        (123456.7, "123456.703"),
        (0, "0.0"),
        (-0.0, "-0.0"),
        (16777216, "16777216.0"),
        (3.4028235e38, "3.40282347e+38"),
        (1e-45, "1.40130e-45"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
    ],
)
def test_floats_are_written_as_by_tensorflow_serving(value: float, text: str) -> None:
    expected = "1.4013e-45" if text == "1.40130e-45" else text
    assert json_writer.float_texts(_float32(value)) == [expected]


@given(st.floats(width=32, allow_nan=False))
def test_every_float32_survives_a_round_trip(value: float) -> None:
    (text,) = json_writer.float_texts(_float32(value))
    assert struct.pack("f", float(text)) == struct.pack("f", value)
    assert "." in text or "e" in text or "Infinity" in text


@given(st.lists(st.floats(allow_nan=False), max_size=5))
def test_every_float64_survives_a_round_trip(values: list[float]) -> None:
    texts = json_writer.float_texts(np.array(values, np.float64))
    assert [float(text) for text in texts] == values


def test_named_outputs_are_written_as_rows() -> None:
    outputs = {
        "scores": (np.array([[0.5, 0.25]], np.float32), FLOAT),
        "label": (np.array([b"good"], object), STRING),
        "image_bytes": (np.array([b"\xff"], object), STRING),
        "flag": (np.array([True]), BOOL),
    }
    assert json_writer.predictions(outputs).decode() == (
        '{\n    "predictions": [\n        {\n'
        '            "flag": true,\n'
        '            "image_bytes": {\n                "b64": "/w=="\n            },\n'
        '            "label": "good",\n'
        '            "scores": [0.5, 0.25]\n'
        "        }\n    ]\n}"
    )


def test_named_outputs_are_written_as_columns() -> None:
    outputs = {
        "a": (np.array([1, 2], np.int64), INT64),
        "b": (np.array(b"x", object), STRING),
    }
    assert json_writer.columns(outputs).decode() == (
        '{\n    "outputs": {\n        "a": [\n            1,\n            2\n        ],\n'
        '        "b": "x"\n    }\n}'
    )


def test_rows_may_have_several_dimensions() -> None:
    array = np.arange(8).reshape(2, 2, 2)
    written = json_writer.predictions({"y": (array, INT64)})
    assert b'"predictions": [[[0, 1], [2, 3]], [[4, 5], [6, 7]]\n    ]' in written
    for shape in ((2, 0), (2, 0, 3), (2, 3, 0), (0, 2)):
        empty = json_writer.predictions({"y": (np.zeros(shape, np.int64), INT64)})
        assert json.loads(empty)["predictions"] == np.zeros(shape).tolist()


@given(st.binary(max_size=30))
def test_any_string_survives_a_round_trip(value: bytes) -> None:
    array = np.array([value], object)
    written = json_writer.predictions({"y": (array, STRING)})
    assert json_reader.parse(written)["predictions"][0].encode("utf-8", "surrogateescape") == value
    as_bytes = json_writer.predictions({"y_bytes": (array, STRING)})
    assert json_tensor.decode_base64(json.loads(as_bytes)["predictions"][0]) == value


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"y": (np.array(1, np.int32), INT32)}, "Tensor name: y has no shape information "),
        (
            {"a": (np.zeros(2, np.int32), INT32), "b": (np.zeros(1, np.int32), INT32)},
            "Tensor name: b has inconsistent batch size: 1 expecting: 2",
        ),
    ],
)
def test_outputs_without_a_json_representation_are_refused(
    outputs: json_writer.Outputs, message: str
) -> None:
    with pytest.raises(ServingError) as caught:
        json_writer.predictions(outputs)
    assert caught.value.message == message


NUMBERS = st.integers(-(2**70), 2**70) | st.floats() | st.text() | st.none() | st.booleans()


@given(
    st.sampled_from(["instances", "inputs"]),
    st.recursive(
        NUMBERS,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["x", "y", "b64"]), inner, max_size=2)
        ),
        max_leaves=8,
    ),
    st.sampled_from([FLOAT, INT8, INT32, INT64, STRING, BOOL, UINT64, T.DT_HALF, T.DT_RESOURCE]),
)
def test_any_document_is_read_or_refused(key: str, value: object, data_type: int) -> None:
    code, arrays, rows = _outcome(json.dumps({key: value}).encode(), data_type)
    assert code in (Code.OK, Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED)
    if code is Code.OK:
        assert set(arrays) == {"x"}
        assert rows == (key == "instances")


def _outcome(body: bytes, data_type: int) -> tuple[Code, dict[str, np.ndarray], bool]:
    try:
        return Code.OK, *json_tensor.read_tensors(json_reader.parse(body), {"x": data_type})
    except ServingError as error:
        return error.code, {}, False
