"""ML Metadata connections from URLs: SQLite by default, MySQL or PostgreSQL for teams."""

from urllib.parse import unquote, urlsplit

from ml_metadata.proto import metadata_store_pb2

from modules.contract.errors import UserError

_LEGAL = "sqlite:///PATH, mysql://USER:PASSWORD@HOST:3306/DATABASE or postgresql://USER:PASSWORD@HOST:5432/DATABASE"


def connection_config(url: str) -> metadata_store_pb2.ConnectionConfig:
    """Return the ML Metadata connection for ``url``.

    Args:
        url: ``sqlite:///PATH``, ``mysql://...`` or ``postgresql://...``; user and password are
            percent-decoded.

    Raises:
        UserError: the URL has another form. The message does not repeat the URL, which may
            contain a password.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        sqlite = metadata_store_pb2.SqliteMetadataSourceConfig(
            filename_uri=unquote(parts.path[1:]),
            connection_mode=metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE,
        )
        return metadata_store_pb2.ConnectionConfig(sqlite=sqlite)
    if parts.scheme not in ("mysql", "postgresql"):
        raise UserError(
            f"metadata.url: must be {_LEGAL}; received the scheme {parts.scheme!r}; "
            "set BERT__METADATA__URL, or leave it empty for SQLite under pipeline.root"
        )
    database = parts.path[1:]
    if not parts.hostname or not database.strip("/"):
        raise UserError(
            f"metadata.url: host or database is missing; must be {_LEGAL}; "
            "correct BERT__METADATA__URL"
        )
    server = {
        "host": parts.hostname,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
    }
    if parts.scheme == "mysql":
        mysql = {**server, "port": parts.port or 3306, "database": database}
        return metadata_store_pb2.ConnectionConfig(mysql=mysql)
    postgresql = {**server, "port": str(parts.port or 5432), "dbname": database}
    return metadata_store_pb2.ConnectionConfig(postgresql=postgresql)
