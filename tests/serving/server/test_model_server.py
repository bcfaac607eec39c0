"""The server process: ports, signals, draining."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from modules.contract.errors import UserError
from serving.protocol import protos
from serving.server import model_server
from serving.server.settings import ServerSettings
from tests.serving import half_plus_two
from tests.serving.server.conformance.server_process import REPOSITORY, Server, embedded_server

SECONDS = 60
BODY = b'{"instances": [1]}'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half_plus_two")
    half_plus_two.write(folder / "123")
    return folder


@pytest.fixture
def server(model: Path) -> Iterator[Server]:
    with embedded_server(model_base_path=str(model)) as running:
        yield running


def _half_a_request(server: Server) -> socket.socket:
    """Send a request without the end of its body, and return the connection."""
    connection = socket.create_connection(server.address, SECONDS)
    head = f"POST /v1/models/default:predict HTTP/1.1\r\nContent-Length: {len(BODY)}\r\n"
    connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
    assert connection.recv(1000).startswith(b"HTTP/1.1 100")
    connection.sendall(BODY[:5])
    return connection


def _refuses_connections(server: Server) -> bool:
    try:
        socket.create_connection(server.address, 1).close()
    except OSError:
        return True
    return False


def _children(server: Server) -> list[psutil.Process]:
    assert server.process is not None
    return psutil.Process(server.process.pid).children(recursive=True)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_signal_drains_the_server_and_exits_0(server: Server, number: signal.Signals) -> None:
    assert server.process is not None
    children = _children(server)
    assert children, "models run in separate processes"
    with _half_a_request(server) as connection:
        server.process.send_signal(number)
        while not _refuses_connections(server):
            pass
        connection.sendall(BODY[5:])
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"2.5" in answer
    assert server.process.wait(SECONDS) == 0
    _, alive = psutil.wait_procs(children, SECONDS)
    assert not alive


@pytest.mark.slow
def test_second_signal_exits_at_once(server: Server) -> None:
    assert server.process is not None
    children = _children(server)
    with _half_a_request(server):
        server.process.send_signal(signal.SIGTERM)
        while not _refuses_connections(server):
            pass
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SECONDS) != 0
    _, alive = psutil.wait_procs(children, SECONDS)
    assert not alive


@pytest.mark.parametrize("name", ["port", "rest_api_port"])
def test_port_in_use_is_reported_on_one_line_with_exit_code_2(model: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"port": 0, "rest_api_port": 0, "model_base_path": str(model), name: port}
        script = REPOSITORY / "tests/serving/server/conformance/start_server.py"
        finished = subprocess.run(
            [sys.executable, str(script), json.dumps(settings)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    assert finished.returncode == 2
    (message,) = finished.stderr.splitlines()
    assert f"cannot listen on 127.0.0.1:{port}: " in message
    assert f"--{name}" in message


def test_invalid_monitoring_file_is_refused(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text("nope")
    settings = ServerSettings(
        port=0,
        rest_api_port=0,
        model_base_path=str(model),
        monitoring_config_file=str(file),
    )
    with pytest.raises(UserError, match="monitoring_config_file"):
        model_server.ModelServer(settings)


@pytest.mark.slow
def test_reload_over_grpc_serves_another_model(tmp_path: Path) -> None:
    half_plus_two.write(tmp_path / "123")
    half_plus_two.write(tmp_path / "second" / "7", increment=3)
    with embedded_server(model_base_path=str(tmp_path), allow_reload_config=True) as server:
        _reload_second(server, tmp_path)


def _reload_second(server: Server, tmp_path: Path) -> None:
    request = protos.model_management_pb2.ReloadConfigRequest()
    config = request.config.model_config_list.config.add(
        name="second", base_path=str(tmp_path / "second"), model_platform="tensorflow"
    )
    with grpc.insecure_channel(server.grpc_target, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = protos.model_service_pb2_grpc.ModelServiceStub(channel)
        response = stub.HandleReloadConfigRequest(request, timeout=SECONDS)
        assert response.status.error_code == 0
        config.version_labels["stable"] = 7
        stub.HandleReloadConfigRequest(request, timeout=SECONDS)
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        answer = client.post("/v1/models/second/labels/stable:predict", content=BODY)
        assert answer.json() == {"predictions": [3.5]}
        assert client.post("/v1/models/default:predict", content=BODY).status_code == 404
