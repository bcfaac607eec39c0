"""A gateway in this process, in front of a gRPC stub of the model server."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from serving.gateway.application import make_application
from serving.gateway.parts import Parts
from serving.gateway.settings import GatewaySettings
from serving.protocol.errors import Code
from serving.records.api_keys import ApiKeys
from serving.records.database import Database
from tests.serving.client.client_stubs import Call, Fault, Stub, grpc_stub

LABELS = ["bad", "good"]
VERSION = 7  # the version that the stub reports as available


@dataclasses.dataclass
class Gateway:
    """A running gateway.

    Attributes:
        client: calls it from a loopback address.
        stub: the model server.
        broken: version -> the fault of its calls.
    """

    client: TestClient
    stub: Stub
    database: Database
    parts: Parts
    broken: dict[int, Fault]

    def predict(self, *texts: str, **options: Any) -> Any:
        return self.client.post("/v1/predict", json={"texts": list(texts)}, **options)

    def feedback(self, **vote: Any) -> Any:
        return self.client.post("/v1/feedback", json=vote)

    def flush(self) -> None:
        assert self.parts.recorder.flush(10)

    def key(self, *scopes: str) -> dict[str, str]:
        """Return headers with a new key."""
        _, secret = ApiKeys(self.database).create("test", scopes)
        return {"authorization": f"Bearer {secret}"}


def write_labels(folder: Path, version: int = VERSION) -> None:
    assets = folder / str(version) / "assets.extra"
    assets.mkdir(parents=True)
    (assets.parent / "saved_model.pb").touch()
    (assets / "labels.txt").write_text("\n".join(LABELS) + "\n", "utf-8")


def break_versions(stub: Stub) -> dict[int, Fault]:
    """Make the stub apply faults per version, and return the dict to put them in."""
    broken: dict[int, Fault] = {}
    enter = stub.enter

    def enter_version(call: Call) -> Fault | None:
        fault = enter(call)
        version = call.route.rpartition("/")[2]
        return broken.get(int(version)) if version.isdecimal() and fault is None else fault

    stub.enter = enter_version  # type: ignore[method-assign]
    return broken


@contextlib.contextmanager
def gateway(
    folder: Path,
    *,
    database_url: str = "",
    prepare: Callable[[Database], None] = lambda _: None,
    evaluation: dict[str, Any] | None = None,
    client: tuple[str, int] = ("127.0.0.1", 50_000),
    **settings: Any,
) -> Iterator[Gateway]:
    write_labels(folder / "models")
    with grpc_stub() as stub:
        broken = break_versions(stub)
        database = Database(database_url or f"sqlite:///{folder}/records.sqlite")
        prepare(database)
        given = GatewaySettings(
            **{
                "database_url": database_url,
                "push_directory": str(folder / "models"),
                "server_url": stub.url,
                "retries": 0,
                "timeout_seconds": 5.0,
                "requests_per_minute": 0,
                **settings,
            }
        )
        parts = Parts(given, database, lambda _: evaluation or {})
        application = make_application(parts)
        try:
            with TestClient(
                application,  # type: ignore[arg-type]
                base_url="http://127.0.0.1",
                client=client,
                raise_server_exceptions=False,
            ) as test_client:
                yield Gateway(test_client, stub, database, parts, broken)
        finally:
            database.close()


def error_of(response: Any) -> tuple[int, str]:
    """Return status and code, after checking the error's shape."""
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "request_id"}
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    assert "\n" not in body["error"]["message"]
    return response.status_code, body["error"]["code"]


UNAVAILABLE = Fault(Code.UNAVAILABLE)
