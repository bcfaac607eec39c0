"""Connections from metadata URLs, also with real servers."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto

from modules.contract.errors import UserError
from pipeline.metadata_store import connection_config
from tests.pipeline import database_servers


def test_sqlite_url_names_a_file() -> None:
    config = connection_config("sqlite:////tmp/a%20b/metadata.sqlite")
    assert config.sqlite.filename_uri == "/tmp/a b/metadata.sqlite"


def test_user_and_password_are_percent_decoded() -> None:
    config = connection_config("mysql://us%40er:p%2Fw@db.example:3307/mlmd")
    assert (config.mysql.host, config.mysql.port) == ("db.example", 3307)
    assert (config.mysql.user, config.mysql.password) == ("us@er", "p/w")
    assert config.mysql.database == "mlmd"


@pytest.mark.parametrize(
    "url", ["oracle://me:secret@db/x", "mysql://me:secret@db", "postgresql:///secret"]
)
def test_bad_url_is_rejected_in_one_line_without_its_password(url: str) -> None:
    with pytest.raises(UserError) as caught:
        connection_config(url)
    message = str(caught.value)
    assert "\n" not in message
    assert "secret" not in message
    assert "BERT__METADATA__URL" in message


def _round_trip(url: str) -> None:
    store = metadata_store.MetadataStore(connection_config(url), enable_upgrade_migration=False)
    kind = store.put_artifact_type(proto.ArtifactType(name="Model"))
    [written] = store.put_artifacts([proto.Artifact(type_id=kind, uri="here")])
    again = metadata_store.MetadataStore(connection_config(url))
    assert [artifact.uri for artifact in again.get_artifacts_by_id([written])] == ["here"]


def test_sqlite_stores_and_returns_artifacts(tmp_path: Path) -> None:
    _round_trip(f"sqlite:///{tmp_path}/metadata.sqlite")


@pytest.mark.slow
@pytest.mark.parametrize("server", [database_servers.postgresql, database_servers.mysql])
def test_real_server_stores_and_returns_artifacts(server: Callable) -> None:
    with server(password="s3cret") as url:
        _round_trip(url)
