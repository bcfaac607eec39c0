"""The OpenAPI document holds, over real sockets: no 500, no status or body that it lacks."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving.client_stubs import grpc_stub
from tests.serving.gateway.gateways import write_labels
from tests.serving.gateway.live_gateway import LiveGateway, live_gateway

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    write_labels(folder / "models")
    settings = (
        f"pusher.base_directory={folder}/models",
        f"pipeline.root={folder}/root",
        "gateway.requests_per_minute=0",
    )
    with grpc_stub() as stub, live_gateway(folder, stub.url, *settings) as started:
        yield started


@pytest.fixture
def document(running: LiveGateway) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{running.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


@schema.parametrize()
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_document_holds(case: schemathesis.Case) -> None:
    case.call_and_validate(
        checks=[
            checks.not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ]
    )


def test_each_route_is_documented(running: LiveGateway) -> None:
    with urllib.request.urlopen(f"{running.url}/openapi.json") as answer:
        paths = json.load(answer)["paths"]
    page = urllib.request.urlopen(f"{running.url}/docs").read().decode()
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation["description"]
            assert f"{method.upper()} {path}" in page
            if path.startswith("/v1/"):
                assert {"401", "403", "429"} <= set(operation["responses"])
    assert "<script" not in page
    assert "://" not in page.replace("http://127.0.0.1", "")
