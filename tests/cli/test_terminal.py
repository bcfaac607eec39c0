import shlex
import sys
from pathlib import Path

import pytest

from cli.terminal import duration, print_error, program_name, stdout


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.23, "4.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1:00"),
        (65, "1:05"),
        (3599.6, "1:00:00"),
        (3725, "1:02:05"),
    ],
)
def test_duration_is_formatted_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_error_in_a_pipe_is_one_line_without_colour(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_error("bad [red]thing[/red]\n  in " + "a very long path " * 20)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: bad [red]thing[/red] in a very")
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_output_to_a_file_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    stdout().print("word " * 100)
    assert capsys.readouterr().out.count("\n") == 1


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


def test_program_name_without_activation_is_a_path(environment: Path) -> None:
    assert program_name() == ".venv/bin/bert"


def test_program_name_outside_the_environments_folder_is_absolute(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a b").mkdir()
    monkeypatch.chdir(tmp_path / "a b")
    assert shlex.split(program_name()) == [str(environment / "bert")]


def test_program_name_on_path_is_bert(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{environment}:/usr/bin")
    assert program_name() == "bert"


def test_program_name_in_another_environment_is_a_path(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "bert").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(other))
    assert program_name() == ".venv/bin/bert"


def test_program_name_without_a_script_is_bert(environment: Path) -> None:
    (environment / "bert").unlink()
    assert program_name() == "bert"
