import pytest

from serving.client import ModelMetadata
from serving.server import ready
from serving.server.model_server import Endpoints


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("", "127.0.0.1"), ("h", "h")]
)
def test_urls_lead_to_the_server_from_this_machine(
    host: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"a": ModelMetadata("a", 3, {}), "b": None}
    monkeypatch.setattr(ready, "_metadata", lambda url, model: known[model])
    found = ready.read_ready_server(Endpoints(host, 8500, 8501), ("b", "a"))
    assert found.rest_url == f"http://{shown}:8501"
    assert found.grpc_url == f"grpc://{shown}:8500"
    assert list(found.models.items()) == [("a", known["a"]), ("b", None)]


def test_server_that_is_away_has_no_metadata() -> None:
    found = ready.read_ready_server(Endpoints("127.0.0.1", 9, 9), ("a",))
    assert found.models == {"a": None}
