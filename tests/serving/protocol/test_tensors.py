import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol import protos, tensors

T = protos.types_pb2
TensorProto = protos.tensor_pb2.TensorProto


def _sample(data_type: int) -> np.ndarray:
    known = tensors.TYPES[data_type]
    if data_type == T.DT_STRING:
        return np.array([[b"a", b""], ["é".encode(), b"\xff\x00"]], object)
    if known.dtype.kind == "c":
        return np.array([[1 + 2j, 0], [-1j, 3]], known.dtype)
    return np.array([[0, 1], [1, 0]]).astype(known.dtype)


@pytest.mark.parametrize("data_type", tensors.TYPES)
def test_every_type_survives_a_round_trip(data_type: int) -> None:
    array = _sample(data_type)
    written = TensorProto()
    tensors.fill_proto(written, array, data_type)
    proto = TensorProto.FromString(written.SerializeToString())
    assert proto.dtype == data_type
    back = tensors.to_array(proto)
    assert back.dtype == array.dtype
    assert back.tolist() == array.tolist()


@pytest.mark.parametrize("data_type", [t for t in tensors.TYPES if t != T.DT_STRING])
def test_tensor_content_of_the_right_length_is_read(data_type: int) -> None:
    array = _sample(data_type)
    proto = TensorProto(dtype=data_type, tensor_content=array.tobytes())
    proto.tensor_shape.dim.add(size=4)
    assert tensors.to_array(proto).tolist() == array.ravel().tolist()
    proto.tensor_content += b"\0"
    with pytest.raises(tensors.TensorError, match="tensor_content has"):
        tensors.to_array(proto)


def test_string_content_consists_of_lengths_and_bytes() -> None:
    long = b"x" * 300
    proto = TensorProto(dtype=T.DT_STRING, tensor_content=b"\x02\xac\x02\x00ab" + long)
    proto.tensor_shape.dim.add(size=3)
    assert tensors.to_array(proto).tolist() == [b"ab", long, b""]


@pytest.mark.parametrize(
    "content",
    [b"\x05ab", b"\x01a\x01", b"\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80", b"\x00\x00\x00"],
)
def test_invalid_string_content_is_refused(content: bytes) -> None:
    proto = TensorProto(dtype=T.DT_STRING, tensor_content=content)
    proto.tensor_shape.dim.add(size=2)
    with pytest.raises(tensors.TensorError):
        tensors.to_array(proto)


def _floats(values: list[float], *shape: int) -> TensorProto:
    proto = TensorProto(dtype=T.DT_FLOAT, float_val=values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("proto", "array"),
    [
        (_floats([1.5]), 1.5),
        (_floats([]), 0.0),
        (_floats([], 2), [0.0, 0.0]),
        (_floats([1, 2], 4), [1, 2, 2, 2]),
        (_floats([1, 2, 3], 2), [1, 2]),
        (_floats([1], 2, 2), [[1, 1], [1, 1]]),
        (_floats([1], 0), []),
        (_floats([], 2, 0), [[], []]),
    ],
)
def test_missing_values_repeat_the_last(proto: TensorProto, array: object) -> None:
    assert tensors.to_array(proto).tolist() == array


def test_missing_strings_repeat_the_last() -> None:
    proto = TensorProto(dtype=T.DT_STRING, string_val=[b"a", b"b"])
    proto.tensor_shape.dim.add(size=3)
    assert tensors.to_array(proto).tolist() == [b"a", b"b", b"b"]


def test_small_integers_wrap_around() -> None:
    proto = TensorProto(dtype=T.DT_INT8, int_val=[127, 128, 300])
    proto.tensor_shape.dim.add(size=3)
    assert tensors.to_array(proto).tolist() == [127, -128, 44]


@pytest.mark.parametrize(
    ("proto", "reason"),
    [
        (TensorProto(), "no values of type"),
        (TensorProto(dtype=T.DT_RESOURCE), "no values of type resource"),
        (TensorProto(dtype=T.DT_FLOAT_REF), "no values of type float_ref"),
        (_floats([1], -1), "is negative"),
        (_floats([1], *[1] * 255), "255 dimensions are more than 254"),
        (_floats([1], 2**62, 2**62), "larger than"),
        (_floats([1], 2**40), "larger than"),
        (_floats([1], 2**40, 2**40, 0), "larger than"),
    ],
)
def test_invalid_tensor_is_refused(proto: TensorProto, reason: str) -> None:
    with pytest.raises(tensors.TensorError, match=reason):
        tensors.to_array(proto)


def test_unknown_rank_is_refused() -> None:
    proto = _floats([1])
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(tensors.TensorError, match="rank is unknown"):
        tensors.to_array(proto)


def test_type_names_are_those_of_tensorflow() -> None:
    names = [tensors.type_name(t) for t in (T.DT_FLOAT, T.DT_HALF, T.DT_INT64, T.DT_STRING)]
    assert names == ["float", "half", "int64", "string"]
    assert tensors.type_name(12345) == "unknown dtype enum (12345)"


@given(
    st.integers(0, 30),
    st.lists(st.integers(-3, 3) | st.integers(2**30, 2**40), max_size=4),
    st.binary(max_size=40),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
)
def test_any_proto_is_read_or_refused(
    data_type: int, shape: list[int], content: bytes, values: list[int]
) -> None:
    proto = TensorProto(dtype=data_type, tensor_content=content, int_val=values, half_val=values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    try:
        array = tensors.to_array(proto, max_bytes=10_000)
    except tensors.TensorError:
        return
    assert list(array.shape) == shape
