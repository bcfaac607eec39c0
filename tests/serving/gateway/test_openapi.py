"""Responses match the OpenAPI document, over real sockets: no 500, nothing undocumented."""

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.records.api_keys import ApiKeys
from serving.records.database import Database
from tests.serving.client.client_stubs import grpc_stub
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


@pytest.fixture(scope="module")
def admin(running: LiveGateway) -> dict[str, str]:
    """Return headers with an admin key."""
    database = Database(f"sqlite:///{running.folder / 'root' / 'service.sqlite'}")
    _, secret = ApiKeys(database).create("test", ["admin"])
    database.close()
    return {"authorization": f"Bearer {secret}"}


@schemathesis.serializer("application/jsonl")
def _jsonl(_: Any, value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


#: Number of requests per route and mode.
_EXAMPLES = 30
_CHECKS = [
    checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_responses_match_the_openapi_document(running: LiveGateway, admin: dict[str, str]) -> None:
    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert {operation.label for operation in operations} >= {
        "POST /v1/predict",
        "POST /v1/predict/stream",
        "POST /v1/feedback",
        "GET /v1/feedback",
        "POST /v1/reviews",
    }
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with contextlib.suppress(Unsatisfiable):  # a GET without parameters is always valid
                _try(operation.as_strategy(generation_mode=mode), admin)


def _try(cases: Any, headers: dict[str, str]) -> None:
    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def call(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=_CHECKS, headers=headers)

    call()


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
