import socket
import threading

import ml_dtypes
import numpy as np
import pytest

from serving.server.worker import wire


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    yield left, right
    left.close()
    right.close()


def strings(values, shape=None):
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape if shape is not None else [-1])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.float64(1.5).reshape(()),
        np.array([True, False, True]),
        np.arange(24, dtype=np.int64).reshape(2, 3, 4)[:, ::2],
        np.empty((0, 3), np.int32),
        np.array([1.5, -2], ml_dtypes.bfloat16),
        np.array([1 + 2j], np.complex64),
        strings([b"a", b"", b"\x00\xff longer", "é".encode()]),
        strings([b"1", b"22", b"333", b"4444"], (2, 2)),
        strings([b"scalar"], ()),
        strings([], (0, 2)),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_array_arrives_as_it_was_sent(pair, array) -> None:
    left, right = pair
    wire.send(left, {"op": "run"}, {"first": array, "second": np.array([7], np.int8)})
    header, tensors = wire.receive(right)
    assert header == {"op": "run"}
    assert tensors["first"].dtype == array.dtype
    assert tensors["first"].shape == array.shape
    assert tensors["first"].tolist() == array.tolist()
    assert tensors["second"].tolist() == [7]


def test_frame_may_exceed_the_socket_buffer(pair) -> None:
    left, right = pair
    big = np.random.default_rng(0).integers(0, 255, 5_000_000, np.uint8)
    texts = strings([b"x" * 1000] * 2000)
    sender = threading.Thread(target=wire.send, args=(left, {}, {"big": big, "texts": texts}))
    sender.start()
    _, tensors = wire.receive(right)
    sender.join()
    assert np.array_equal(tensors["big"], big)
    assert tensors["texts"].tolist() == texts.tolist()


def test_frame_may_contain_many_tensors(pair) -> None:
    left, right = pair
    tensors = {str(number): np.array([number]) for number in range(2000)}
    sender = threading.Thread(target=wire.send, args=(left, {}, tensors))
    sender.start()
    _, received = wire.receive(right)
    sender.join()
    assert {name: int(array[0]) for name, array in received.items()} == {
        str(number): number for number in range(2000)
    }


def test_closed_connection_is_reported(pair) -> None:
    left, right = pair
    left.close()
    with pytest.raises(EOFError):
        wire.receive(right)


@pytest.mark.parametrize("kept", [3, 40])
def test_truncated_frame_is_reported(pair, kept) -> None:
    left, right = pair
    wire.send(left, {"op": "run"}, {"x": np.zeros(100)})
    frame = right.recv(1 << 16)
    left.sendall(frame[:kept])
    left.close()
    with pytest.raises(EOFError):
        wire.receive(right)


def test_str_is_refused_in_a_string_tensor(pair) -> None:
    with pytest.raises(TypeError):
        wire.send(pair[0], {}, {"x": np.array(["text"], object)})
