"""Runs on other platforms, asked for through the real clients."""

import json
import sys
from pathlib import Path

import pytest

from pipeline.config import Config
from runners.triggers import job, launch, platform_runs
from runners.triggers.config_source import ConfigSource, state_folder
from runners.triggers.history import FAILED, LOST, RUNNING, SUCCEEDED, RunRecord
from runners.triggers.launch import Launcher
from tests.runners.remote.platform_api import KubeflowApi
from tests.runners.remote.test_submission import kubeflow_config, kubeflow_package

NOW = 1_772_366_400.0


def submitted(api: KubeflowApi, config: Config) -> RunRecord:
    from runners.kubeflow.client import KubeflowConnection

    name = KubeflowConnection(config).submit(kubeflow_package()).name
    return RunRecord(1, "kubeflow", NOW - 60, external_id=name)


@pytest.mark.parametrize(
    ("word", "state"), [("RUNNING", RUNNING), ("SUCCEEDED", SUCCEEDED), ("FAILED", FAILED)]
)
def test_the_platform_is_asked(
    word: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with KubeflowApi([word], error="exit code 137" if word == "FAILED" else "") as api:
        config = kubeflow_config(api)
        run = submitted(api, config)
        standing = Launcher(config, ConfigSource()).standing(run, NOW)
    assert standing.state == state
    assert f"kubeflow says {word}" in standing.sentence
    if state == FAILED:
        assert "exit code 137" in standing.sentence


def test_a_platform_that_is_away_says_nothing_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with KubeflowApi(["RUNNING"]) as api:
        config = kubeflow_config(api)
        run = submitted(api, config)
    launcher = Launcher(config, ConfigSource())
    standing = launcher.standing(run, NOW)
    assert standing.state == RUNNING
    assert "kubeflow cannot be asked" in standing.sentence
    much_later = NOW + launch.UNREACHABLE_SECONDS
    assert launcher.standing(run, much_later).state == LOST


def test_a_submission_is_found_by_its_file(tmp_path: Path) -> None:
    launcher = _launcher(tmp_path)
    run = RunRecord(4, "vertex", NOW, details=launcher.new_run().details)
    folder = launcher.job_folder(4, NOW)
    folder.mkdir(parents=True)
    (folder / job.SUBMITTED_FILE).write_text(json.dumps({"name": "n", "url": "u"}))
    standing = launcher.standing(run, NOW)
    assert (standing.state, standing.external_id) == (RUNNING, "n")
    assert standing.details == {"url": "u"}


def test_a_run_of_another_machine_counts_for_a_day(tmp_path: Path) -> None:
    launcher = _launcher(tmp_path)
    run = RunRecord(4, "local", NOW, details={"host": "elsewhere"})
    assert launcher.standing(run, NOW + 3600).state == RUNNING
    assert launcher.standing(run, NOW + launch.ELSEWHERE_SECONDS).state == LOST


def _launcher(tmp_path: Path) -> Launcher:
    source = ConfigSource(None, (f"pipeline.root={tmp_path}",))
    return Launcher(source.load(), source)


def test_a_remote_root_keeps_the_lock_in_the_users_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    remote = ConfigSource(None, ("pipeline.root=gs://bucket/bert", "pipeline.name=reviews"))
    assert state_folder(remote.load()) == tmp_path / "bert" / "reviews" / "triggers"
    local = ConfigSource(None, (f"pipeline.root={tmp_path}/root",))
    assert state_folder(local.load()) == tmp_path / "root" / "triggers"


def test_a_submission_writes_name_and_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runners.kubeflow import platform as kubeflow

    monkeypatch.setattr(kubeflow, "check", lambda config: None)
    monkeypatch.setattr(kubeflow, "compile_pipeline", lambda config: kubeflow_package())
    with KubeflowApi(["RUNNING"]) as api:
        source = ConfigSource(
            None, (f"kubeflow.host={api.url}", "pipeline.root=minio://bucket/bert")
        )
        platform_runs.main("kubeflow", tmp_path / "submitted.json", source)
        [run_id] = api.runs
    written = json.loads((tmp_path / "submitted.json").read_text())
    assert written["name"] == run_id
    assert written["url"].endswith(f"/#/runs/details/{run_id}")


def test_steps_submit_where_the_config_says(tmp_path: Path) -> None:
    source = ConfigSource("my.toml", ("pipeline.name=x",))
    export, submission = launch.bert_steps(source, "vertex", tmp_path)
    assert export.command[1:5] == ["-m", "cli.main", "feedback", "export"]
    assert submission.command[:3] == [sys.executable, "-m", "runners.triggers.platform_runs"]
    order = json.loads(submission.command[3])
    assert order["runner"] == "vertex"
    assert order["source"] == {"file": "my.toml", "assignments": ["pipeline.name=x"]}


def test_a_submission_that_fails_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    import subprocess

    source = ConfigSource(None, ("pipeline.root=gs://bucket/bert", "kubeflow.host="))
    command = platform_runs.command("kubeflow", tmp_path / "submitted.json", source)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
