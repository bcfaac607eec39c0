"""The gRPC server in this process, with fake models: limits, cancellation, health, fuzzing."""

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.protocol import protos, tensors
from serving.protocol.errors import Code, ServingError
from serving.server import metrics
from serving.server.grpc_api.grpc_server import GrpcServer
from serving.server.requests.service import InferenceService
from tests.serving import fake_models
from tests.serving.fake_models import STRING, FakeModels, FakeServable

TIMEOUT = 30
MAX_BYTES = 100_000


class Fixture:
    def __init__(self) -> None:
        self.servable: FakeServable = fake_models.classifier()
        self.models = FakeModels(self.servable)
        service = InferenceService(self.models)
        self.server = GrpcServer(service, "127.0.0.1", 0, 4, MAX_BYTES)
        self.server.start()
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.server.port}", [("grpc.enable_http_proxy", 0)]
        )
        self.prediction = protos.prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def close(self) -> None:
        self.servable.let_go()
        self.channel.close()
        self.server.stop(0)


@pytest.fixture
def served() -> Iterator[Fixture]:
    fixture = Fixture()
    yield fixture
    fixture.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Fixture]:
    fixture = Fixture()
    yield fixture
    fixture.close()


def _texts(*texts: bytes) -> Any:
    request = protos.predict_pb2.PredictRequest()
    request.model_spec.name = "reviews"
    tensors.fill_proto(request.inputs["text"], np.array(texts, object), STRING)
    return request


def _refusal(call: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def test_predict_returns_the_outputs(served: Fixture) -> None:
    response = served.prediction.Predict(_texts(b"abc"), timeout=TIMEOUT)
    assert list(response.outputs["scores"].float_val) == [0.25, 0.75]


def test_names_of_unknown_models_share_a_metric_label(served: Fixture) -> None:
    before = metrics.REQUEST_COUNT.value(metrics.OTHER, "NOT_FOUND")
    for name in ("nobody-1", "nobody-2", "n" * 5000):
        request = _texts(b"abc")
        request.model_spec.name = name
        _refusal(lambda request=request: served.prediction.Predict(request, timeout=TIMEOUT))
        assert metrics.REQUEST_COUNT.value(name, "NOT_FOUND") == 0
    assert metrics.REQUEST_COUNT.value(metrics.OTHER, "NOT_FOUND") == before + 3


def test_deadline_reaches_the_run(served: Fixture) -> None:
    served.prediction.Predict(_texts(b"abc"), timeout=TIMEOUT)
    served.prediction.Predict(_texts(b"abc"))
    with_deadline, without = served.servable.requests
    assert with_deadline.deadline is not None
    assert without.deadline is None


def test_passed_deadline_cancels_the_run(served: Fixture) -> None:
    served.servable.hold()
    error = _refusal(lambda: served.prediction.Predict(_texts(b"a"), timeout=0.2))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    _wait_until_cancelled(served)


def test_cancelled_call_leaves_the_queue(served: Fixture) -> None:
    served.servable.hold()
    call = served.prediction.Predict.future(_texts(b"a"))
    assert served.servable.arrived.wait(TIMEOUT)
    call.cancel()
    _wait_until_cancelled(served)
    assert served.servable.pins == 0


def _wait_until_cancelled(served: Fixture) -> None:
    assert served.servable.arrived.wait(TIMEOUT)
    assert served.servable.held is not None
    future, _ = served.servable.held[0]
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    assert done.wait(TIMEOUT)
    assert future.cancelled()


def test_unavailable_says_when_to_retry(served: Fixture) -> None:
    served.servable.failure = ServingError(Code.UNAVAILABLE, "full", 1.5)
    error = _refusal(lambda: served.prediction.Predict(_texts(b"a"), timeout=TIMEOUT))
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "full")
    assert ("grpc-retry-pushback-ms", "1500") in list(error.trailing_metadata())


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_every_code_reaches_the_caller(shared: Fixture, code: Code) -> None:
    shared.servable.failure = ServingError(code, "reason")
    try:
        error = _refusal(lambda: shared.prediction.Predict(_texts(b"a"), timeout=TIMEOUT))
    finally:
        shared.servable.failure = None
    assert error.code().value[0] == int(code)
    assert error.details() == "reason"


def test_unexpected_exception_is_internal_without_its_message(
    served: Fixture, caplog: pytest.LogCaptureFixture
) -> None:
    served.servable.signatures = None  # type: ignore[assignment]
    error = _refusal(lambda: served.prediction.Predict(_texts(b"a secret text"), timeout=TIMEOUT))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "Internal error")
    assert "secret" not in caplog.text


def test_too_large_message_is_refused(served: Fixture) -> None:
    request = _texts(b"x" * (MAX_BYTES + 1))
    error = _refusal(lambda: served.prediction.Predict(request, timeout=TIMEOUT))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.servable.requests == []


def test_calls_beyond_the_threads_wait(served: Fixture) -> None:
    calls = [served.prediction.Predict.future(_texts(b"a"), timeout=TIMEOUT) for _ in range(40)]
    assert [len(call.result().outputs) for call in calls] == [3] * 40


def test_port_in_use_is_an_error(served: Fixture) -> None:
    with pytest.raises(OSError, match=r"bind|address"):
        GrpcServer(InferenceService(served.models), "127.0.0.1", served.server.port, 1, 1)


def test_reload_is_off_unless_the_operator_allows_it(served: Fixture) -> None:
    stub = protos.model_service_pb2_grpc.ModelServiceStub(served.channel)
    request = protos.model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    with pytest.raises(grpc.RpcError) as caught:
        stub.HandleReloadConfigRequest(request, timeout=TIMEOUT)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "--allow_reload_config" in caught.value.details()
    assert served.models.reloaded == []


def _check(served: Fixture, name: str) -> int:
    request = health_pb2.HealthCheckRequest(service=name)
    return served.health.Check(request, timeout=TIMEOUT).status


def test_health_follows_the_models(served: Fixture) -> None:
    assert [_check(served, name) for name in ("", "reviews")] == [1, 1]
    served.models.is_ready = False
    assert [_check(served, name) for name in ("", "reviews")] == [2, 1]
    served.models.is_ready = True
    served.server.drain()
    assert [_check(served, name) for name in ("", "reviews")] == [2, 2]


def test_health_watch_reports_changes(served: Fixture) -> None:
    request = health_pb2.HealthCheckRequest(service="reviews")
    updates = served.health.Watch(request, timeout=TIMEOUT)
    assert next(updates).status == 1
    served.server.drain()
    assert next(updates).status == 2
    updates.cancel()


def test_health_watch_of_an_unknown_model_reports_unknown(served: Fixture) -> None:
    request = health_pb2.HealthCheckRequest(service="nope")
    updates = served.health.Watch(request, timeout=TIMEOUT)
    assert next(updates).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    updates.cancel()


def test_stop_lets_running_calls_finish(served: Fixture) -> None:
    served.servable.hold()
    call = served.prediction.Predict.future(_texts(b"abc"))
    assert served.servable.arrived.wait(TIMEOUT)
    stopping = threading.Thread(target=served.server.stop, args=(TIMEOUT,))
    stopping.start()
    served.servable.let_go()
    assert len(call.result(TIMEOUT).outputs) == 3
    stopping.join()


METHODS = ["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"]
_SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def _code(shared: Fixture, path: str, body: bytes) -> grpc.StatusCode:
    try:
        shared.channel.unary_unary(path)(body, timeout=TIMEOUT)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@_SHARED
@given(method=st.sampled_from(METHODS), body=st.binary(max_size=100))
def test_any_bytes_are_answered(shared: Fixture, method: str, body: bytes) -> None:
    code = _code(shared, f"/tensorflow.serving.PredictionService/{method}", body)
    assert code is not grpc.StatusCode.UNKNOWN
    assert code is not grpc.StatusCode.DEADLINE_EXCEEDED


@_SHARED
@given(
    shape=st.lists(st.integers(-2, 2**40), max_size=3),
    strings=st.lists(st.binary(max_size=10), max_size=3),
    data_type=st.integers(0, 30),
    content=st.binary(max_size=10),
)
def test_any_tensor_is_answered(
    shared: Fixture, shape: list[int], strings: list[bytes], data_type: int, content: bytes
) -> None:
    request = _texts()
    proto = request.inputs["text"]
    proto.Clear()
    proto.dtype, proto.tensor_content = data_type, content
    proto.string_val.extend(strings)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    body = request.SerializeToString()
    code = _code(shared, "/tensorflow.serving.PredictionService/Predict", body)
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
