import json
import os
from pathlib import Path

import pytest

from cli.main import main


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    (tmp_path / "data.csv").write_text("text,label\ngood,pos\n")
    values = (
        f"pipeline.root={tmp_path}/root",
        f"data.path={tmp_path}/data.csv",
        "triggers.drift=false",
    )
    return [f"--set={value}" for value in values]


def bert(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def test_once_prints_the_decision(options: list[str], capsys: pytest.CaptureFixture) -> None:
    assert bert("watch", "--once", *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "no run starts: no trigger fired"
    assert "  new_data: the data files are the same" in lines
    assert "  cooldown free: no triggered run yet" in lines


def test_once_as_json_prints_a_repeated_decision_too(
    options: list[str], capsys: pytest.CaptureFixture
) -> None:
    bert("watch", "--once", *options)
    capsys.readouterr()
    assert bert("watch", "--once", "--json", *options) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["started"] is False
    assert printed["triggers"] == []
    assert printed["reason"] == "no trigger fired"
    assert printed["run"] is None
    assert printed["events"] == []


def test_decisions_are_listed(options: list[str], capsys: pytest.CaptureFixture) -> None:
    assert bert("decisions", *options) == 0
    assert capsys.readouterr().out.startswith("No decisions yet")
    bert("watch", "--once", *options)
    capsys.readouterr()
    assert bert("decisions", *options) == 0
    assert "no trigger fired" in capsys.readouterr().out
    assert bert("decisions", "--json", *options) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["reason"] == "no trigger fired"
    assert row["run"] is None
    assert row["details"]["signals"]["new_data"]["fired"] is False


def test_impossible_schedule_is_a_user_error(
    options: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert bert("watch", "--once", *options, "--set=triggers.schedule=0 0 31 2 *") == 2
    assert "triggers.schedule" in capsys.readouterr().err


def test_wait_needs_once(options: list[str], capsys: pytest.CaptureFixture) -> None:
    assert bert("watch", "--wait", *options) == 2
    assert "--wait needs --once" in capsys.readouterr().err
    assert bert("watch", "--once", "--wait", *options) == 0


def test_exit_code_needs_once(options: list[str], capsys: pytest.CaptureFixture) -> None:
    assert bert("watch", "--exit-code", *options) == 2
    assert "--exit-code needs --once" in capsys.readouterr().err


def test_exit_code_option_returns_99_when_nothing_is_due(options: list[str]) -> None:
    assert bert("watch", "--once", "--exit-code", *options) == 99


def test_unreachable_database_is_a_user_error(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture
) -> None:
    away = "--set=feedback.database_url=sqlite:///" + str(tmp_path / "data.csv" / "no.sqlite")
    assert bert("watch", "--once", "--exit-code", *options, away) == 2
    assert "feedback.database_url" in capsys.readouterr().err


@pytest.mark.slow
def test_wait_returns_after_the_started_run_ends(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture
) -> None:
    """The run is a real one. It fails at once, because its log folder is a file."""
    bert("watch", "--once", *options)
    (tmp_path / "root" / "logs").touch()
    (tmp_path / "data.csv").write_text("text,label\nbad,neg\n")
    os.utime(tmp_path / "data.csv", (1, 1))
    capsys.readouterr()
    assert bert("watch", "--once", "--wait", "--json", *options) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["started"] is True
    last = printed["events"][-1]
    assert last["details"]["state"] == "failed"
    assert "bert run ended with" in last["sentence"]
    log = next((tmp_path / "root" / "triggers").glob("run-1-*/log.txt"))
    assert "error:" in log.read_text()
