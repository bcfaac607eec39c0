from tests.serving.records.databases import (  # noqa: F401
    database,
    database_url,
    postgresql_server,
)
