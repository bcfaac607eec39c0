import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError, StatementError

from modules.contract.errors import UserError
from serving.records import database as database_module
from serving.records.database import Database, cause_of
from serving.records.tables import ApiKeyRow, PredictionRow
from tests.pipeline.database_servers import free_port
from tests.serving.records.rows import prediction

REPOSITORY = Path(__file__).parents[3]


def count(database: Database) -> int | None:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(PredictionRow))


def test_rows_are_read_back_unchanged(database: Database) -> None:
    text = "Ünïcode \U0001f600 \"quotes\",\r\nlines 'x'"
    with database.begin() as session:
        session.add(prediction("r", text, model_version=2**60, created=1795566709.3339984))
        session.add(prediction("e", "no answer", scores=None, label=None, score=None))
        session.add(ApiKeyRow(id="k", name="n", digest=bytes(range(32)), scopes=["x"], created=0.1))
    with database.read() as session:
        found = session.get_one(PredictionRow, "r-0")
        assert (found.text, found.scores) == (text, {"neg": 0.25, "pos": 0.75})
        assert (found.model_version, found.created) == (2**60, 1795566709.3339984)
        unanswered = select(PredictionRow.id).where(PredictionRow.scores.is_(None))
        assert session.scalars(unanswered).all() == ["e-0"]
        assert bytes(session.get_one(ApiKeyRow, "k").digest) == bytes(range(32))


def test_failed_transaction_writes_nothing(database: Database) -> None:
    def write() -> None:
        with database.begin() as session:
            session.add(prediction("r", "text"))
            session.flush()
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        write()
    assert count(database) == 0


def test_reader_does_not_wait_for_a_writer(database: Database) -> None:
    with ThreadPoolExecutor(1) as pool, database.begin() as session:
        session.add(prediction("r", "text"))
        session.flush()
        assert pool.submit(count, database).result(timeout=10) == 0


def test_writers_that_read_first_take_turns(database: Database) -> None:
    """On SQLite, a reader that turns writer would fail with "database is locked"."""
    barrier = threading.Barrier(4)

    def write(writer: int) -> None:
        barrier.wait()
        for number in range(10):
            with database.begin() as session:
                session.scalar(select(func.count()).select_from(PredictionRow))
                session.add(prediction(f"{writer}.{number}", "text"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert count(database) == 40


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_may_open_a_new_database_at_once(database_url: str) -> None:
    code = "import sys; from serving.records.database import Database; Database(sys.argv[1])"
    processes = [start(code, database_url) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")


def test_committed_row_survives_the_kill_of_its_writer(
    database: Database, database_url: str
) -> None:
    code = (
        "import os, signal, sys\n"
        "from serving.records.database import Database\n"
        "from tests.serving.records.rows import prediction\n"
        "database = Database(sys.argv[1])\n"
        "with database.begin() as session: session.add(prediction('committed', 'text'))\n"
        "with database.begin() as session:\n"
        "    session.add(prediction('open', 'text')); session.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = start(code, database_url)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (-signal.SIGKILL, "")
    with database.begin() as session:
        assert session.scalars(select(PredictionRow.id)).all() == ["committed-0"]


@pytest.mark.parametrize(
    "url", ["mysql", "sqlite//x", "mysql://me:s3cret@host/x", "postgresql://me:s3cret@host:port/x"]
)
def test_invalid_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UserError, match=r"feedback\.database_url must be") as caught:
        Database(url)
    assert "s3cret" not in str(caught.value)


def test_unavailable_server_is_reported_without_its_password() -> None:
    url = f"postgresql://me:s3cret@127.0.0.1:{free_port()}/records"
    with pytest.raises(UserError, match="cannot be opened") as caught:
        Database(url)
    message = str(caught.value)
    assert "\n" not in message
    assert "s3cret" not in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be created"):
        Database(f"sqlite:///{tmp_path}/a/b.sqlite")


def test_starting_server_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    causes = ["Connection refused", "the database system is starting up"]

    def create_tables(engine: object) -> None:
        if causes:
            raise OperationalError("", {}, Exception(causes.pop(0)))

    monkeypatch.setattr(database_module, "_create_tables", create_tables)
    Database(f"sqlite:///{tmp_path}/records.sqlite", patience_seconds=30).close()
    assert not causes


@pytest.mark.parametrize(
    ("cause", "patience"), [("password authentication failed", 30.0), ("Connection refused", 0.0)]
)
def test_other_errors_are_raised_without_waiting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cause: str, patience: float
) -> None:
    tries = []

    def create_tables(engine: object) -> None:
        tries.append(engine)
        raise OperationalError("", {}, Exception(cause))

    monkeypatch.setattr(database_module, "_create_tables", create_tables)
    with pytest.raises(UserError, match=cause):
        Database(f"sqlite:///{tmp_path}/records.sqlite", patience_seconds=patience)
    assert len(tries) == 1


def test_cause_is_one_line_without_the_statement() -> None:
    driver = Exception("connection refused\n  Is the server running?")
    error = OperationalError("INSERT INTO prediction VALUES (?)", {"text": "secret"}, driver)
    assert cause_of(error) == "connection refused"
    assert cause_of(StatementError("no such\ntable", "SELECT secret", {}, None)) == "no such"
    assert len(cause_of(RuntimeError("x" * 1000))) == 200
    assert cause_of(RuntimeError()) == ""


def test_sqlite_files_are_for_the_owner_only(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        database = Database(f"sqlite:///{tmp_path}/state/records.sqlite")
        with database.begin() as session:
            session.execute(select(1))
            files = {
                file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "state").iterdir()
            }
        database.close()
    finally:
        os.umask(before)
    assert "records.sqlite-wal" in files
    assert set(files.values()) == {0o600}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
