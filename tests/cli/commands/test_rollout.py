import json
import time
from pathlib import Path

import pytest

from cli import main as cli
from serving.records.database import Database
from serving.rollout.controller import RolloutController
from tests.serving.rollout.traffic import Settings, call, push


@pytest.fixture
def bert(tmp_path: Path, capsys):
    """Return a function that runs a command: its exit code and output."""

    def run(*words: str, enabled: str = "true") -> tuple[int, str]:
        options = [
            f"pipeline.root={tmp_path}/root", f"pusher.base_directory={tmp_path}/pushed",
            f"rollout.enabled={enabled}", "rollout.min_requests=20",
            "gateway.server_url=grpc://127.0.0.1:9",
        ]  # fmt: skip
        with pytest.raises(SystemExit) as caught:
            cli.main([*words, *(f"--set={option}" for option in options)])
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out + captured.err

    return run


@pytest.fixture
def step(tmp_path: Path):
    """Yield a function that makes one poll of the rollout and returns the database."""
    root = tmp_path / "root"
    root.mkdir()
    database = Database(f"sqlite:///{root}/service.sqlite")

    def run(stages=("canary",)) -> Database:
        settings = Settings(stages=stages)
        RolloutController(database, tmp_path / "pushed", "default", settings).step(time.time())
        return database

    yield run
    database.close()


def test_status_shows_a_canary_with_its_figures(bert, step, tmp_path) -> None:
    push(tmp_path / "pushed", 1)
    step()
    push(tmp_path / "pushed", 2)
    database = step()
    for _ in range(12):
        call(database, 2, "canary", time.time())
        call(database, 1, "stable", time.time())
    code, shown = bert("rollout", "status")
    assert code == 0
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[0].startswith("model default: version 1 serves; version 2 answers a share")
    assert lines[0].endswith("left to decide")
    assert "2 candidate, canary 10% does not answer" in lines
    assert "1 stable 90% does not answer" in lines
    assert "requests more needed 12 of 20 answered in this stage" in lines
    assert "errors within 0 of 12 requests failed (0.0%, limit 1.0%; stable 0 of 12)" in lines
    assert any(" start 2 watch it was pushed" in line for line in lines)


def test_status_as_json_contains_stage_and_events(bert, step, tmp_path) -> None:
    push(tmp_path / "pushed", 1)
    step()
    record = json.loads(bert("rollout", "status", "--json")[1])
    assert (record["stable"], record["stage"], record["seconds_left"]) == (1, "full", None)
    assert record["server_answers"] is False
    assert [event["action"] for event in record["events"]] == ["adopt"]


def test_rollback_reverts_a_promotion(bert, step, tmp_path) -> None:
    push(tmp_path / "pushed", 1)
    step()
    push(tmp_path / "pushed", 2)
    step()
    code, shown = bert("promote")
    assert code == 2
    assert "add --force" in shown
    assert bert("promote", "--force") == (
        0,
        "version 2 receives all traffic; `bert rollback` returns to version 1\n",
    )
    assert bert("rollback", "--reason", "wrong") == (
        0,
        "version 2 is rolled back; version 1 receives all traffic\n",
    )
    code, shown = bert("rollback")
    assert code == 2
    assert "there is no previous version to roll back to" in shown
    assert "rejected" in bert("rollout", "status")[1]


@pytest.mark.parametrize("words", [("rollout", "status"), ("promote",), ("rollback",)])
def test_missing_version_or_setting_is_reported(bert, words) -> None:
    code, shown = bert(*words)
    assert code == 2
    assert "no version of model 'default' has been adopted" in shown
    code, shown = bert(*words, enabled="false")
    assert code == 2
    assert "add --set rollout.enabled=true" in shown
