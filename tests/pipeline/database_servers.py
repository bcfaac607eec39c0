"""Real database servers for tests, started on a free loopback port and stopped afterwards.

Tests that need a server which is not installed are skipped.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def free_port() -> int:
    """Return a free TCP port on loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def find_program(name: str, *patterns: str) -> str | None:
    """Return the path of a server program, which distributions install outside the PATH."""
    found = shutil.which(name)
    if found:
        return found
    return next((str(path) for pattern in patterns for path in Path("/").glob(pattern)), None)


def _installed(name: str, *patterns: str) -> str:
    program = find_program(name, *patterns)
    if program is None:
        pytest.skip(f"{name} is not installed")
    return program


def as_account(user: str) -> dict[str, object]:
    """Return arguments of subprocess to run a program as ``user``; the servers refuse root."""
    if os.getuid() != 0:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def _folder_of(user: str) -> Iterator[Path]:
    """Create a temporary folder owned by the account.

    It is not in pytest's folder, which each new pytest process closes to other accounts.
    """
    with tempfile.TemporaryDirectory(prefix=f"bert-{user}-") as folder:
        if os.getuid() == 0:
            shutil.chown(folder, user, user)
        yield Path(folder)


def _wait_for_port(process: subprocess.Popen, port: int) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(f"the server exited with code {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError("the server did not listen within 30 s")


def _wait_until_ready(url: str) -> None:
    """Wait until PostgreSQL accepts connections, which it does some time after it listens."""
    import psycopg

    for _ in range(300):
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(url, connect_timeout=5).close()
            return
        time.sleep(0.1)
    raise RuntimeError("the server was not ready within 30 s")


@contextlib.contextmanager
def postgresql(password: str) -> Iterator[str]:
    """Start a PostgreSQL server and yield the ``postgresql://`` URL of an empty database."""
    initdb = _installed("initdb", "usr/lib/postgresql/*/bin/initdb")
    with _folder_of("postgres") as folder, _postgresql_in(folder, initdb, password) as url:
        yield url


@contextlib.contextmanager
def _postgresql_in(folder: Path, initdb: str, password: str) -> Iterator[str]:
    program = Path(initdb).parent
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o644)
    data, port = folder / "data", free_port()
    user = as_account("postgres")
    subprocess.run(
        [initdb, "-D", data, "-U", "bert", "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8"],
        check=True, capture_output=True, cwd=folder, **user,
    )  # fmt: skip
    server = subprocess.Popen(
        [program / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **user,
    )  # fmt: skip
    try:
        _wait_for_port(server, port)
        url = f"postgresql://bert:{password}@127.0.0.1:{port}/postgres"
        _wait_until_ready(url)
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # "fast": SIGTERM waits for clients to leave
        server.wait()


@contextlib.contextmanager
def mysql(password: str) -> Iterator[str]:
    """Start a MariaDB server and yield the ``mysql://`` URL of an empty database."""
    program = _installed("mariadbd", "usr/sbin/mariadbd", "usr/sbin/mysqld")
    install = _installed("mariadb-install-db", "usr/bin/mariadb-install-db")
    with _folder_of("mysql") as folder, _mysql_in(folder, program, install, password) as url:
        yield url


@contextlib.contextmanager
def _mysql_in(folder: Path, program: str, install: str, password: str) -> Iterator[str]:
    data, port, socket_file = folder / "data", free_port(), folder / "s"
    user = as_account("mysql")
    subprocess.run(
        [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"],
        check=True, capture_output=True, cwd=folder, **user,
    )  # fmt: skip
    start = folder / "start.sql"
    start.write_text(
        "CREATE DATABASE metadata;\n"
        f"CREATE USER bert@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        "GRANT ALL ON metadata.* TO bert@'127.0.0.1';\n"
    )
    start.chmod(0o644)
    server = subprocess.Popen(
        [
            program, "--no-defaults", f"--datadir={data}", f"--port={port}",
            f"--socket={socket_file}", "--bind-address=127.0.0.1", f"--init-file={start}",
            "--skip-name-resolve=1",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **user,
    )  # fmt: skip
    try:
        _wait_for_port(server, port)
        yield f"mysql://bert:{password}@127.0.0.1:{port}/metadata"
    finally:
        server.terminate()
        server.wait()
