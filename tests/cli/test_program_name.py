"""What to type for ``bert``: with the environment activated, and without."""

import shlex
import sys
from pathlib import Path

import pytest

from cli.terminal import program_name


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment's folder of programs, in the working directory, not on PATH."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "bert"):
        (programs / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return programs


def test_not_activated(environment: Path) -> None:
    assert program_name() == ".venv/bin/bert"


def test_not_activated_and_elsewhere(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a b").mkdir()
    monkeypatch.chdir(tmp_path / "a b")
    assert shlex.split(program_name()) == [str(environment / "bert")]


def test_activated(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{environment}:/usr/bin")
    assert program_name() == "bert"


def test_another_environment_is_activated(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "bert").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(other))
    assert program_name() == ".venv/bin/bert"


def test_without_a_program(environment: Path) -> None:
    (environment / "bert").unlink()
    assert program_name() == "bert"
