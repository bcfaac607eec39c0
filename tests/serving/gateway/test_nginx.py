"""The gateway behind nginx: with a bare ``proxy_pass``, and with the configuration we ship."""

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.records.api_keys import ApiKeys
from serving.records.database import Database
from tests.serving.client.client_stubs import grpc_stub
from tests.serving.gateway.gateways import write_labels
from tests.serving.gateway.live_gateway import LiveGateway, live_gateway

_NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
_OPENSSL = shutil.which("openssl")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (_NGINX and _OPENSSL), reason="needs nginx and openssl"),
]
_SHIPPED = Path(__file__).parents[3] / "serving" / "deploy" / "nginx" / "gateway.conf"
_MAIN = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {servers}
}}
"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextlib.contextmanager
def nginx(folder: Path, port: int, servers: str) -> Iterator[None]:
    assert _NGINX
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(_MAIN.format(folder=folder, servers=servers), "utf-8")
    process = subprocess.Popen([_NGINX, "-p", str(folder), "-c", str(config)])
    try:
        for _ in range(200):
            assert process.poll() is None, (folder / "error.log").read_text("utf-8")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def running_gateway(folder: Path, *assignments: str) -> Iterator[LiveGateway]:
    write_labels(folder / "models")
    settings = (f"pusher.base_directory={folder}/models", f"pipeline.root={folder}/root")
    with grpc_stub() as stub, live_gateway(folder, stub.url, *settings, *assignments) as running:
        yield running


def call(
    url: str, body: Any = None, headers: dict[str, str] | None = None, **options: Any
) -> tuple[int, str]:
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {"content-type": "application/json", **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=60, **options) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_bare_proxy_pass_gives_nobody_admin(tmp_path: Path) -> None:
    port = _free_port()
    with running_gateway(tmp_path) as running:
        servers = (
            f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {running.url}; }} }}"
        )
        with nginx(tmp_path / "nginx", port, servers):
            url = f"http://127.0.0.1:{port}"
            assert call(f"{url}/v1/predict", {"text": "a film"})[0] == 200
            assert call(f"{url}/v1/feedback", {"text": "a film", "label": "good"})[0] == 202
            for path, body in (("feedback", None), ("reviews", {"text": "a film", "label": "bad"})):
                status, content = call(f"{url}/v1/{path}", body)
                assert status == 401
                assert "--scope admin" in content


def test_shipped_configuration_needs_a_key_and_streams(tmp_path: Path) -> None:
    assert _OPENSSL
    port, key, crt = _free_port(), tmp_path / "gateway.key", tmp_path / "gateway.crt"
    subprocess.run(
        (
            f"{_OPENSSL} req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=gateway.example "
            f"-keyout {key} -out {crt}"
        ).split(),
        check=True,
        capture_output=True,
    )
    trusting = ssl.create_default_context(cafile=str(crt))
    trusting.check_hostname = False
    with running_gateway(tmp_path, "gateway.authentication=required") as running:
        servers = (
            _SHIPPED.read_text("utf-8")
            .replace("127.0.0.1:8080", running.url.removeprefix("http://"))
            .replace("listen 443", f"listen 127.0.0.1:{port}")
            .replace("/etc/nginx/tls", str(tmp_path))
        )
        with nginx(tmp_path / "nginx", port, servers):
            url, text = f"https://127.0.0.1:{port}", {"text": "a film"}
            assert call(f"{url}/v1/predict", text, context=trusting)[0] == 401
            database = Database(f"sqlite:///{tmp_path / 'root' / 'service.sqlite'}")
            _, secret = ApiKeys(database).create("test", ["predict"])
            database.close()
            headers = {"authorization": f"Bearer {secret}"}
            assert call(f"{url}/v1/predict", text, headers, context=trusting)[0] == 200
            assert call(f"{url}/v1/feedback", None, headers, context=trusting)[0] == 403
            assert call(f"{url}/metrics", None, headers, context=trusting)[0] == 403
            lines = b'"a film"\n' * 500
            jsonl = {**headers, "content-type": "application/jsonl"}
            status, content = call(f"{url}/v1/predict/stream", lines, jsonl, context=trusting)
            assert (status, len(content.splitlines())) == (200, 500)
