"""Runs on other platforms, queried through the real clients."""

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
def test_state_is_read_from_the_platform(
    word: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with KubeflowApi([word], error="exit code 137" if word == "FAILED" else "") as api:
        config = kubeflow_config(api)
        run = submitted(api, config)
        status = Launcher(config, ConfigSource()).status(run, NOW)
    assert status.state == state
    assert f"kubeflow reports {word}" in status.sentence
    if state == FAILED:
        assert "exit code 137" in status.sentence


def test_run_on_an_unreachable_platform_is_running_and_later_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with KubeflowApi(["RUNNING"]) as api:
        config = kubeflow_config(api)
        run = submitted(api, config)
    launcher = Launcher(config, ConfigSource())
    status = launcher.status(run, NOW)
    assert status.state == RUNNING
    assert "kubeflow cannot be queried" in status.sentence
    much_later = NOW + launch.UNREACHABLE_SECONDS
    assert launcher.status(run, much_later).state == LOST


def test_submission_is_found_by_its_file(tmp_path: Path) -> None:
    launcher = _launcher(tmp_path)
    run = RunRecord(4, "vertex", NOW, details=launcher.new_run().details)
    folder = launcher.job_folder(4, NOW)
    folder.mkdir(parents=True)
    (folder / job.SUBMITTED_FILE).write_text(json.dumps({"name": "n", "url": "u"}))
    status = launcher.status(run, NOW)
    assert (status.state, status.external_id) == (RUNNING, "n")
    assert status.details == {"url": "u"}


def test_run_on_another_machine_is_lost_after_a_day(tmp_path: Path) -> None:
    launcher = _launcher(tmp_path)
    run = RunRecord(4, "local", NOW, details={"host": "elsewhere"})
    assert launcher.status(run, NOW + 3600).state == RUNNING
    assert launcher.status(run, NOW + launch.ELSEWHERE_SECONDS).state == LOST


def _launcher(tmp_path: Path) -> Launcher:
    source = ConfigSource(None, (f"pipeline.root={tmp_path}",))
    return Launcher(source.load(), source)


def test_lock_of_a_remote_root_is_in_the_state_folder_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    remote = ConfigSource(None, ("pipeline.root=gs://bucket/bert", "pipeline.name=reviews"))
    assert state_folder(remote.load()) == tmp_path / "bert" / "reviews" / "triggers"
    local = ConfigSource(None, (f"pipeline.root={tmp_path}/root",))
    assert state_folder(local.load()) == tmp_path / "root" / "triggers"


def test_submission_writes_name_and_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_steps_submit_to_the_configured_platform(tmp_path: Path) -> None:
    source = ConfigSource("my.toml", ("pipeline.name=x",))
    export, submission = launch.bert_steps(source, "vertex", tmp_path)
    assert export.command[1:5] == ["-m", "cli.main", "feedback", "export"]
    assert submission.command[:3] == [sys.executable, "-m", "runners.triggers.platform_runs"]
    order = json.loads(submission.command[3])
    assert order["runner"] == "vertex"
    assert order["source"] == {"file": "my.toml", "assignments": ["pipeline.name=x"]}


def test_failed_submission_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    import subprocess

    source = ConfigSource(None, ("pipeline.root=gs://bucket/bert", "kubeflow.host="))
    command = platform_runs.command("kubeflow", tmp_path / "submitted.json", source)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
