"""One server for the whole suite: the embedded one, or a stock TensorFlow Serving.

To test a stock server, set TF_SERVING_URL (http://host:8501) and TF_SERVING_GRPC (host:8500). It
must serve its saved_model_half_plus_two_cpu as model ``default``, version 123, with the label
``stable``, and have the Prometheus page enabled.
"""

from collections.abc import Iterator

import grpc
import httpx
import pytest

from serving.protocol import protos
from tests.serving import half_plus_two
from tests.serving.server.conformance.server_process import Server, embedded_server, stock_server

_CONFIG = """
model_config_list {{
  config {{
    name: "default"
    base_path: "{path}"
    model_platform: "tensorflow"
    version_labels {{ key: "stable" value: 123 }}
  }}
}}
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if stock := stock_server():
        yield stock
        return
    folder = tmp_path_factory.mktemp("served")
    half_plus_two.write(folder / "half_plus_two" / "123")
    config = folder / "models.config"
    config.write_text(_CONFIG.format(path=folder / "half_plus_two"))
    with embedded_server(
        model_config_file=str(config),
        allow_version_labels_for_unavailable_models=True,
        allow_reload_config=True,
    ) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def channel(server: Server) -> Iterator[grpc.Channel]:
    if not server.grpc_target:
        pytest.skip("TF_SERVING_GRPC is not set")
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.grpc_target, options) as opened:
        yield opened


@pytest.fixture(scope="session")
def prediction(channel: grpc.Channel) -> protos.prediction_service_pb2_grpc.PredictionServiceStub:
    return protos.prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="session")
def model_service(channel: grpc.Channel) -> protos.model_service_pb2_grpc.ModelServiceStub:
    return protos.model_service_pb2_grpc.ModelServiceStub(channel)
