"""The database with the tables of ``serving.records.tables``."""

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator
from typing import Any, cast

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_delay,
    wait_exponential,
)

from modules.contract.errors import UserError
from modules.contract.private_files import make_private_folder, private_opener
from serving.records.tables import Base

#: How long an SQLite writer waits for another one.
_BUSY_SECONDS = 15
#: Maximum characters shown of a driver's message.
_LONGEST_CAUSE = 200

_AWAY = re.compile("connection refused|starting up|shutting down|recovery|timeout", re.IGNORECASE)

_log = logging.getLogger(__name__)


class Database:
    """One database, shared by threads.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://USER:PASSWORD@HOST/DATABASE``.
        patience_seconds: how long to wait for a server that is down or starting, for services that
            start together with it; other errors are raised at once.

    Raises:
        UserError: the URL has another form, or the database cannot be opened.
    """

    def __init__(self, url: str, patience_seconds: float = 0.0) -> None:
        self.engine = _make_engine(url)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        waiting = Retrying(
            retry=retry_if_exception(_is_away),
            stop=stop_after_delay(patience_seconds),
            wait=wait_exponential(0.1, max=2),
            before_sleep=_log_waiting,
            reraise=True,
        )
        try:
            waiting(_create_tables, self.engine)
        except SQLAlchemyError as error:
            shown = self.engine.url.render_as_string(hide_password=True)
            raise UserError(
                f"the database {shown} cannot be opened: {cause_of(error)}; start it, or set "
                "feedback.database_url to sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
            ) from error

    @contextlib.contextmanager
    def begin(self) -> Iterator[Session]:
        """Start a transaction: committed, and on disk, when the block ends; else rolled back.

        Raises:
            SQLAlchemyError: the database failed or is unavailable; nothing was written.
        """
        with self._sessions.begin() as session:
            yield session

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """Start a read-only transaction, which waits for no writer.

        Raises:
            SQLAlchemyError: the database failed or is unavailable.
        """
        reader = self.engine.execution_options(read_only=True)
        with self._sessions(bind=reader) as session:
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def is_postgresql(session: Session) -> bool:
    """Return whether the session's database is PostgreSQL rather than SQLite."""
    return session.get_bind().dialect.name == "postgresql"


def insert(session: Session, table: type[Base]) -> Any:
    """Return an INSERT that supports ON CONFLICT, which is specific to each database."""
    mapped = cast(Table, table.__table__)
    return (postgresql.insert if is_postgresql(session) else sqlite.insert)(mapped)


def cause_of(error: Exception) -> str:
    """Return the cause in one line, without the statement and the row, which contain texts."""
    # SQLAlchemy keeps the driver's error, if there is one.
    message = str(getattr(error, "orig", None) or error).strip()
    return message.partition("\n")[0][:_LONGEST_CAUSE]


def _is_away(error: BaseException) -> bool:
    """Return whether the server is down, starting or stopping; libpq reports it only in words."""
    return isinstance(error, OperationalError) and bool(_AWAY.search(str(error.orig)))


def _log_waiting(attempt: RetryCallState) -> None:
    if attempt.attempt_number == 1:
        _log.warning("the database is unavailable; waiting for it")


def _parse(url: str) -> URL:
    with contextlib.suppress(ArgumentError, ValueError):  # ValueError for an invalid port
        parsed = make_url(url)
        if parsed.get_backend_name() in {"sqlite", "postgresql"}:
            return parsed
    raise UserError(
        "feedback.database_url must be sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE"
    )


def _make_engine(url: str) -> Engine:
    parsed = _parse(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "postgresql":
        return create_engine(
            parsed, pool_pre_ping=True, pool_size=8, connect_args={"connect_timeout": 5}
        )
    if folder := os.path.dirname(parsed.database or ""):
        try:
            make_private_folder(folder)
        except OSError as error:
            raise UserError(
                f"the folder {folder} of feedback.database_url cannot be created: "
                f"{error.strerror}; set feedback.database_url=sqlite:///PATH in a writable folder"
            ) from error
    _create_file(parsed.database or "")
    engine = create_engine(parsed, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _take_lock)
    return engine


def _create_file(path: str) -> None:
    """Create a missing SQLite file for its owner only; its journals get the same permissions."""
    if path and path != ":memory:" and not path.startswith("file:"):
        with contextlib.suppress(OSError):  # SQLite reports it
            os.close(private_opener(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC))


def _set_pragmas(connection: object, _: object) -> None:
    """Allow readers next to one writer, and make commits durable when they return."""
    # SQLAlchemy's advice for SQLite: leave BEGIN to ``_take_lock``, not to the driver.
    connection.isolation_level = None  # type: ignore[attr-defined]
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _take_lock(connection: Connection) -> None:
    """Take SQLite's write lock first: a reader that turns writer would fail instead of waiting."""
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _create_tables(engine: Engine) -> None:
    """Create missing tables; of two processes that open a new database at once, one retries."""
    for attempt in (1, 2, 3):
        try:
            Base.metadata.create_all(engine)
            return
        except SQLAlchemyError as error:
            if attempt == 3 or (isinstance(error, OperationalError) and attempt == 2):
                raise
            time.sleep(0.2)
