"""Calls of a stub over both transports: predictions, routing, errors, retries, deadlines."""

import concurrent.futures
import contextlib
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from modules.contract.errors import UserError
from serving.client import (
    Client,
    ClientError,
    ConnectionFailedError,
    DeadlineExceededError,
    Prediction,
    RequestRefusedError,
    UnexpectedAnswerError,
)
from serving.protocol.errors import Code, ServingError
from serving.protocol.servable import State, VersionStatus
from tests.serving.client.client_stubs import LABELS, STUBS, Fault, Stub, write_certificate


@pytest.fixture(params=STUBS)
def stub(request: pytest.FixtureRequest) -> Iterator[Stub]:
    with STUBS[request.param]() as stub:
        yield stub


@pytest.fixture
def connect(stub: Stub) -> Iterator[Callable[..., Client]]:
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Client(stub.url, **options))


Connect = Callable[..., Client]


def test_predict_returns_scores_by_label(connect: Connect) -> None:
    predictions = connect(labels=LABELS).predict(["good film", "no", "", "goodé"])
    good = Prediction("good", 0.75, {"bad": 0.25, "good": 0.75}, (0.25, 0.75))
    bad = Prediction("bad", 0.75, {"bad": 0.75, "good": 0.25}, (0.75, 0.25))
    assert predictions == [good, bad, bad, good]


@pytest.mark.parametrize("labels", [None, ["good", "bad"], ["a", "b", "c"], ["x", "y"]])
def test_labels_that_do_not_match_the_response_are_ignored(
    connect: Connect, labels: list[str] | None
) -> None:
    [prediction] = connect(labels=labels).predict(["good"])
    assert prediction == Prediction("good", 0.75, {}, (0.25, 0.75))


def test_nan_scores_are_returned(connect: Connect, stub: Stub) -> None:
    stub.outputs = lambda texts: {"scores": [[math.nan, 1.0]], "label": ["bad"], "score": [1.0]}
    [prediction] = connect(labels=LABELS).predict(["x"])
    assert math.isnan(prediction.raw_scores[0])
    assert prediction.scores == {}


def test_no_text_sends_no_request(connect: Connect, stub: Stub) -> None:
    assert connect().predict([]) == []
    assert stub.calls == []


def test_long_list_is_sent_by_length_and_returned_in_order(connect: Connect, stub: Stub) -> None:
    texts = [("good " if number % 3 else "no ") * (number * 7 % 20) for number in range(100)]
    predictions = connect(max_request_texts=8, concurrency=3).predict(texts)
    assert [p.label for p in predictions] == ["good" if "good" in t else "bad" for t in texts]
    assert sorted(text for call in stub.calls for text in call.texts) == sorted(texts)
    for call in stub.calls:
        assert len(call.texts) <= 8
        assert [len(text) for text in call.texts] == sorted(len(text) for text in call.texts)


def test_concurrency_is_bounded(connect: Connect, stub: Stub) -> None:
    client = connect(max_request_texts=1, concurrency=3)
    stub.gate.clear()
    caller = threading.Thread(target=client.predict, args=[["x"] * 12])
    caller.start()
    while stub.running < 3:
        time.sleep(0.001)
    stub.gate.set()
    caller.join()
    assert stub.most_running == 3
    assert len(stub.calls) == 12


@pytest.mark.parametrize(
    ("options", "routes"),
    [
        ({}, ("/v1/models/default", "default/")),
        ({"model": "a b", "version": 7}, ("/v1/models/a%20b/versions/7", "a b/7")),
        ({"label": "stable"}, ("/v1/models/default/labels/stable", "default/stable")),
    ],
)
def test_version_and_label_select_the_route(
    connect: Connect, stub: Stub, options: dict, routes: tuple[str, str]
) -> None:
    client = connect(**options)
    client.predict(["x"])
    client.metadata()
    is_rest = stub.url.startswith("http")
    expected = [f"{routes[0]}:predict", f"{routes[0]}/metadata"] if is_rest else [routes[1]] * 2
    assert [call.route for call in stub.calls] == expected


def test_status_ignores_the_label(connect: Connect, stub: Stub) -> None:
    assert connect(label="stable").status() == [
        VersionStatus(8, State.LOADING),
        VersionStatus(7, State.AVAILABLE),
        VersionStatus(6, State.END, Code.NOT_FOUND, "gone"),
    ]
    assert stub.calls[0].route in ("/v1/models/default", "default/")


def test_metadata_is_the_same_over_both_transports(connect: Connect) -> None:
    metadata = connect().metadata()
    assert (metadata.name, metadata.version) == ("default", 7)
    signature = metadata.signatures["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert signature.inputs["text"].shape == (None,)
    assert signature.outputs["scores"].dtype == "DT_FLOAT"
    assert signature.outputs["scores"].shape == (None, 2)


def test_predict_tensors_returns_the_types_of_the_signature(connect: Connect, stub: Stub) -> None:
    client = connect()
    outputs = client.predict_tensors({"text": ["good", b"no"]})
    assert outputs["scores"].dtype == np.float32
    np.testing.assert_array_equal(outputs["scores"], [[0.25, 0.75], [0.75, 0.25]])
    assert outputs["label"].tolist() == [b"good", b"bad"]
    assert set(client.predict_tensors({"text": ["x"]}, outputs=["score"])) == {"score"}
    assert sum(not call.texts for call in stub.calls) == 1, "metadata is requested once"


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ({"x": [1]}, {}, "takes text, not x"),
        ({"text": ["a"]}, {"outputs": ["nope"]}, "no output 'nope'; it has label, score, scores"),
    ],
)
def test_predict_tensors_names_the_valid_inputs_and_outputs(
    connect: Connect, inputs: dict, options: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        connect().predict_tensors(inputs, **options)


def test_unknown_signature_is_refused(connect: Connect) -> None:
    with pytest.raises(ClientError, match="no signature 'nope'; it has serving_default") as caught:
        connect().predict_tensors({"text": ["a"]}, signature="nope")
    assert caught.value.code is Code.NOT_FOUND


def test_predict_refuses_a_model_that_is_not_a_classifier(connect: Connect, stub: Stub) -> None:
    stub.outputs = lambda texts: {"y": [1.0], "z": [2.0]}
    with pytest.raises(UnexpectedAnswerError, match="returns y, z; predict needs label"):
        connect().predict(["x"])


def test_headers_are_sent_with_a_call(connect: Connect, stub: Stub) -> None:
    connect(headers={"Authorization": "Bearer secret"}).predict(["x"])
    assert stub.calls[0].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    "code",
    [Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.RESOURCE_EXHAUSTED, Code.INTERNAL],
)
def test_other_errors_are_not_retried(connect: Connect, stub: Stub, code: Code) -> None:
    stub.always = Fault(code, "no\nsuch  thing")
    with pytest.raises(RequestRefusedError) as caught:
        connect().predict(["x"])
    assert (caught.value.code, caught.value.message) == (code, "no such thing")
    assert isinstance(caught.value, ServingError)
    assert str(caught.value) == f"{code.name}: no such thing"
    assert len(stub.calls) == 1


def test_unavailable_is_retried(connect: Connect, stub: Stub) -> None:
    stub.faults = [Fault(Code.UNAVAILABLE), Fault(Code.UNAVAILABLE)]
    assert connect(retries=2).predict(["good"])[0].label == "good"
    assert len(stub.calls) == 3


def test_number_of_retries_is_bounded(connect: Connect, stub: Stub) -> None:
    stub.always = Fault(Code.UNAVAILABLE, "queue is full")
    with pytest.raises(RequestRefusedError, match="UNAVAILABLE: queue is full"):
        connect(retries=1).predict(["good"])
    assert len(stub.calls) == 2


def test_pause_is_at_least_as_long_as_the_server_asks(connect: Connect, stub: Stub) -> None:
    stub.faults = [Fault(Code.UNAVAILABLE, retry_after=1)]
    connect().predict(["good"])
    first, second = stub.calls
    assert second.time - first.time >= 1


def test_call_fails_at_once_if_the_pause_would_end_after_the_deadline(
    connect: Connect, stub: Stub
) -> None:
    stub.always = Fault(Code.UNAVAILABLE, retry_after=3600)
    with pytest.raises(RequestRefusedError) as caught:
        connect(timeout=30).predict(["good"])
    assert caught.value.retry_after_seconds == 3600
    assert len(stub.calls) == 1


def test_call_ends_at_its_deadline(connect: Connect, stub: Stub) -> None:
    stub.gate.clear()
    with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s") as caught:
        connect(timeout=0.2).predict(["good", "bad"])
    assert caught.value.code is Code.DEADLINE_EXCEEDED


def test_grpc_server_receives_the_deadline() -> None:
    with STUBS["grpc"]() as stub, Client(stub.url, timeout=50) as client:
        client.predict(["x"])
        assert stub.calls[0].time_remaining is not None
        assert stub.calls[0].time_remaining <= 50


def test_stream_is_read_only_as_far_as_it_is_consumed(connect: Connect, stub: Stub) -> None:
    read = 0

    def lines() -> Iterator[str]:
        nonlocal read
        for number in range(10_000):
            read += 1
            yield "good" if number % 2 else "no"

    stream = connect(max_request_texts=512).predict_stream(lines())
    assert next(stream).label == "bad"
    assert read <= 2 * 1024
    assert [p.label for p in stream] == (["good", "bad"] * 5000)[:9999]
    assert read == 10_000


def test_stream_yields_all_predictions_before_a_failure(connect: Connect, stub: Stub) -> None:
    def outputs(texts: list[str]) -> dict[str, list]:
        if "late" in texts:
            return {"y": [1.0], "z": [1.0]}
        return {"scores": [[1.0, 0.0]] * len(texts), "label": ["bad"] * len(texts),
                "score": [1.0] * len(texts)}  # fmt: skip

    stub.outputs = outputs
    stream = connect().predict_stream(["a"] * 1024 + ["late"])
    assert [next(stream).label for _ in range(1024)] == ["bad"] * 1024
    with pytest.raises(UnexpectedAnswerError):
        next(stream)


def test_threads_can_share_a_client(connect: Connect) -> None:
    client = connect()
    answers: list[list[Prediction]] = []
    callers = [
        threading.Thread(target=lambda: answers.append(client.predict(["good", "no"])))
        for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert [[p.label for p in answer] for answer in answers] == [["good", "bad"]] * 8


def test_closed_client_refuses_calls(connect: Connect) -> None:
    client = connect()
    client.predict(["x"])
    client.close()
    client.close()
    with pytest.raises(UserError, match="closed"):
        client.predict(["x"])


@pytest.mark.parametrize("transport", STUBS)
def test_tls_trusts_only_the_given_authority(transport: str, tmp_path: Path) -> None:
    tls = write_certificate(tmp_path)
    with STUBS[transport](tls) as stub:
        with Client(stub.url, ca_file=str(tls.certificate)) as client:
            assert client.predict(["good"])[0].label == "good"
        with Client(stub.url, retries=0) as client, pytest.raises(ConnectionFailedError) as caught:
            client.predict(["good"])
        assert stub.url in caught.value.message
        assert "certificate" in caught.value.message.lower()
        assert len(stub.calls) == 1


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_unreadable_ca_file_is_refused(scheme: str) -> None:
    client = Client(f"{scheme}://127.0.0.1:1", ca_file="missing.pem")
    with client, pytest.raises(UserError, match=r"ca_file missing\.pem cannot be read"):
        client.predict(["x"])


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_retry_reaches_a_server_that_has_just_started(scheme: str) -> None:
    transport = "rest" if scheme == "http" else "grpc"
    with STUBS[transport]() as stub, socket.socket() as gate:
        gate.bind(("127.0.0.1", 0))  # refuses, until it listens
        target = ("127.0.0.1", int(stub.url.rpartition(":")[2]))

        def pipe(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65_536):
                    sink.sendall(data)

        def open_the_gate() -> None:
            gate.listen()
            with contextlib.suppress(OSError):
                inner, outer = gate.accept()[0], socket.create_connection(target)
                threading.Thread(target=pipe, args=[inner, outer], daemon=True).start()
                pipe(outer, inner)

        timer = threading.Timer(0.3, open_the_gate)
        timer.daemon = True
        timer.start()
        url = f"{scheme}://127.0.0.1:{gate.getsockname()[1]}"
        with Client(url, retries=50, timeout=30) as client:
            assert client.predict(["good"])[0].label == "good"


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_refused_connection_is_reported(scheme: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        url = f"{scheme}://127.0.0.1:{taken.getsockname()[1]}"
        with Client(url, retries=1) as client, pytest.raises(ConnectionFailedError) as caught:
            client.predict(["x"])
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.message == f"cannot reach {url}: Connection refused"


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_closed_connection_is_reported(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}"
        with Client(url, retries=0) as client, pytest.raises(ConnectionFailedError, match=url):
            client.status()
        server.shutdown(socket.SHUT_RDWR)


def test_http_to_a_grpc_port_suggests_grpc() -> None:
    with STUBS["grpc"]() as stub:
        url = stub.url.replace("grpc://", "http://")
        with Client(url, retries=0) as client, pytest.raises(ClientError, match="grpc://"):
            client.status()


def test_slow_response_is_cut_off_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def dribble() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not done.wait(0.02):
                    connection.sendall(b"x-more: 1\r\n")

        threading.Thread(target=dribble, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with Client(url, timeout=0.3) as client, pytest.raises(DeadlineExceededError):
            client.status()
        done.set()


def test_client_imports_no_tensorflow() -> None:
    script = (
        "import sys, serving.client, serving.client.grpc_transport, serving.client.rest_transport\n"
        "print(*sorted({n.split('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not {"tensorflow", "keras", "tfx", "absl"} & set(done.stdout.split())


@pytest.mark.parametrize("count", [1024, 2048])
def test_stream_may_end_with_a_full_window(connect: Connect, count: int) -> None:
    assert len(list(connect().predict_stream(["good"] * count))) == count


def test_stream_that_is_closed_early_cancels_what_is_in_flight(
    connect: Connect, stub: Stub
) -> None:
    client = connect()
    stream = client.predict_stream(["good"] * 3000)
    assert next(stream).label == "good"
    stream.close()
    client.close()


def test_closing_the_client_fails_its_running_calls(stub: Stub) -> None:
    stub.gate.clear()
    client = Client(stub.url, retries=0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.predict, ["good", "no"])
        while not stub.running:
            time.sleep(0.01)
        client.close()
        stub.gate.set()
        with pytest.raises((UserError, ClientError)):
            call.result(timeout=30)
