"""``bert submit --watch``: compile, submit through the real client, follow to the end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runners.remote.platform_api import KubeflowApi, PlatformApi, VertexApi

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGE = "image.name=registry.example.com/bert:0123abc"


def submit(runner: str, *settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "cli.main", "submit", f"--runner={runner}", "--watch"),
            *(f"--set={setting}" for setting in (IMAGE, *settings)),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def on_kubeflow(api: PlatformApi) -> subprocess.CompletedProcess[str]:
    return submit(
        "kubeflow",
        f"kubeflow.host={api.url}",
        "pipeline.root=minio://mlpipeline/bert",
        'kubeflow.volumes={claim = "/models"}',
        "pusher.base_directory=/models/bert",
    )


def on_vertex(api: PlatformApi) -> subprocess.CompletedProcess[str]:
    return submit(
        "vertex",
        f"vertex.api_endpoint={api.url}",
        "vertex.project=shop",
        "pipeline.root=gs://bucket/bert",
        "pusher.base_directory=gs://bucket/models",
    )


def test_run_on_kubeflow_is_followed_to_its_end() -> None:
    with KubeflowApi(["SUCCEEDED"], tasks={"Trainer": "SUCCEEDED"}) as api:
        done = on_kubeflow(api)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "submitted run-1",
        f"  {api.url}/#/runs/details/run-1",
        "Trainer: SUCCEEDED",
        "run: SUCCEEDED",
    ]
    [run] = api.runs.values()
    assert set(run["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]) >= {"Trainer"}


def test_failed_run_on_vertex_exits_with_1_and_prints_the_reason() -> None:
    with VertexApi(["FAILED"], tasks={"Trainer": "FAILED"}, error="no quota for T4") as api:
        done = on_vertex(api)
    assert done.returncode == 1, done.stderr
    assert "Trainer: FAILED" in done.stdout
    assert done.stderr.splitlines()[-1] == (
        "error: the run ended as FAILED: Trainer: no quota for T4"
    )


def test_refused_run_creates_nothing() -> None:
    with VertexApi(refuse=403) as api:
        done = on_vertex(api)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: Vertex AI at")
    assert api.runs == {}
