from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.records.database import Database
from serving.records.tables import Base
from tests.pipeline import database_servers


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/service.sqlite")
    yield database
    database.close()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    with database_servers.postgresql("secret") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def either_database(request, tmp_path: Path) -> Iterator[Database]:
    """An empty database, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("database")
        return
    database = Database(request.getfixturevalue("postgresql_url"))
    yield database
    with database.begin() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
    database.close()
