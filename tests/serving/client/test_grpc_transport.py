"""Answers that a gRPC server should not give."""

from collections.abc import Iterator

import grpc
import pytest

from serving.client import Client, ConnectionFailedError, UnexpectedAnswerError
from serving.protocol import protos
from tests.serving.client.client_stubs import Stub, grpc_stub, rest_stub, write_certificate


@pytest.fixture
def stub() -> Iterator[Stub]:
    with grpc_stub() as stub:
        yield stub


def test_tensor_that_cannot_be_read_is_an_unexpected_answer(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(stub.url, retries=0) as client:
        assert client.predict(["good"])[0].label == "good"
        broken = protos.predict_pb2.PredictResponse()
        for name in ("scores", "label", "score"):
            broken.outputs[name].dtype = protos.types_pb2.DT_FLOAT
            broken.outputs[name].tensor_shape.dim.add(size=7)
            broken.outputs[name].tensor_content = b"abc"
        monkeypatch.setattr(protos.predict_pb2, "PredictResponse", lambda: broken)
        monkeypatch.setattr(stub, "answer", lambda _: {})
        with pytest.raises(UnexpectedAnswerError, match=stub.url):
            client.predict(["good"])


def test_server_that_speaks_no_tls_is_a_failed_connection(stub: Stub) -> None:
    url = stub.url.replace("grpc://", "grpcs://")
    with (
        Client(url, retries=0) as client,
        pytest.raises(ConnectionFailedError, match="TLS handshake failed"),
    ):
        client.status()


def test_certificate_of_another_authority_is_named(tmp_path) -> None:
    tls = write_certificate(tmp_path)
    with grpc_stub(tls) as stub:
        with Client(stub.url, retries=0) as client, pytest.raises(ConnectionFailedError) as caught:
            client.status()
        assert "ca_file" in caught.value.message


def test_rest_port_answers_no_grpc() -> None:
    with rest_stub() as stub:
        url = stub.url.replace("http://", "grpc://")
        with Client(url, retries=0) as client, pytest.raises(ConnectionFailedError):
            client.status()


def test_metadata_without_signatures_is_an_unexpected_answer() -> None:
    class Prediction(protos.prediction_service_pb2_grpc.PredictionServiceServicer):
        def GetModelMetadata(self, request, context):  # noqa: N802
            answer = protos.get_model_metadata_pb2.GetModelMetadataResponse()
            answer.metadata["signature_def"].Pack(protos.model_pb2.ModelSpec())
            return answer

    from concurrent import futures

    server = grpc.server(futures.ThreadPoolExecutor(2))
    protos.prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with (
            Client(f"grpc://127.0.0.1:{port}", retries=0) as client,
            pytest.raises(UnexpectedAnswerError),
        ):
            client.metadata()
    finally:
        server.stop(0)
