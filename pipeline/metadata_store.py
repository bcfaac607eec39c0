"""ML Metadata connections from URLs: SQLite by default, MySQL or PostgreSQL for teams."""

from urllib.parse import SplitResult, unquote, urlsplit

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
    connection = metadata_store_pb2.ConnectionConfig()
    if parts.scheme == "sqlite":
        connection.sqlite.filename_uri = unquote(parts.path[1:])
        connection.sqlite.connection_mode = (
            metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        )
    elif parts.scheme == "mysql":
        _require_database(parts)
        connection.mysql.host = parts.hostname or ""
        connection.mysql.port = parts.port or 3306
        connection.mysql.database = parts.path[1:]
        connection.mysql.user = unquote(parts.username or "")
        connection.mysql.password = unquote(parts.password or "")
    elif parts.scheme == "postgresql":
        _require_database(parts)
        connection.postgresql.host = parts.hostname or ""
        connection.postgresql.port = str(parts.port or 5432)
        connection.postgresql.dbname = parts.path[1:]
        connection.postgresql.user = unquote(parts.username or "")
        connection.postgresql.password = unquote(parts.password or "")
    else:
        raise UserError(
            f"metadata.url: must be {_LEGAL}; received the scheme {parts.scheme!r}; "
            "set BERT__METADATA__URL, or leave it empty for SQLite under pipeline.root"
        )
    return connection


def _require_database(parts: SplitResult) -> None:
    if not parts.hostname or not parts.path.strip("/"):
        raise UserError(
            f"metadata.url: host or database is missing; must be {_LEGAL}; "
            "correct BERT__METADATA__URL"
        )
