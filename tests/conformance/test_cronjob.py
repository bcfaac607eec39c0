"""The CronJob that ``bert compile --cronjob`` writes: its command starts a run when one is due.

The pod is a local process; the platform is a server on loopback whose API the real client calls.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from runners.triggers.store import last_decisions, run_states
from serving.records.database import Database
from tests.e2e.conftest import REPOSITORY
from tests.runners.remote.platform_api import KubeflowApi, PlatformApi, VertexApi

pytestmark = pytest.mark.integration

SECRET = (
    'cronjob.secrets=[{secret = "bert", key = "url", variable = "BERT__FEEDBACK__DATABASE_URL"}]'
)
SETTINGS = [
    "image.name=registry.example.com/bert:0123abc",
    SECRET,
    "triggers.drift=false",
    "triggers.cooldown_minutes=0",
]


def kubeflow_settings(api: PlatformApi, volume: Path) -> list[str]:
    return [
        f"kubeflow.host={api.url}",
        "pipeline.root=minio://mlpipeline/bert",
        f'kubeflow.volumes={{claim = "{volume}"}}',
        f"pusher.base_directory={volume}/models",
        f"feedback.spans={volume}/feedback",
        f"data.path={volume}/reviews.csv",
    ]


def vertex_settings(api: PlatformApi, volume: Path) -> list[str]:
    """Return settings with the data in the image, because there is no bucket."""
    return [
        f"vertex.api_endpoint={api.url}",
        "vertex.project=shop",
        "pipeline.root=gs://bucket/bert",
        "pusher.base_directory=gs://bucket/models",
        "data.path=reviews.csv",
    ]


class Cluster:
    """Cluster that runs a CronJob's pods as local processes, one after the other.

    Args:
        folder: the image's working directory and the volume.
        manifest: file of the CronJob.
        secrets: (secret, key) -> value.
    """

    def __init__(self, folder: Path, manifest: Path, secrets: dict[tuple[str, str], str]) -> None:
        spec = yaml.safe_load(manifest.read_text())["spec"]["jobTemplate"]["spec"]
        [self.container] = spec["template"]["spec"]["containers"]
        assert self.container["workingDir"] == str(folder)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("BERT_")},
            **{
                variable["name"]: secrets[
                    variable["valueFrom"]["secretKeyRef"]["name"],
                    variable["valueFrom"]["secretKeyRef"]["key"],
                ]
                for variable in self.container["env"]
            },
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": "200",
        }
        self._pods = 0

    def pod(self) -> subprocess.CompletedProcess[str]:
        """Run a pod to its end, in its own home folder, because containers keep no files."""
        self._pods += 1
        home = Path(self.container["workingDir"]) / f"pod-{self._pods}"
        return subprocess.run(
            [*self.container["command"], *self.container["args"]],
            cwd=self.container["workingDir"],
            env={**self.environment, "HOME": str(home), "XDG_STATE_HOME": ""},
            capture_output=True,
            text=True,
            check=False,
        )


def write(folder: Path, reviews: str) -> None:
    """Write the data file with an old modification time, so that it counts as complete."""
    path = folder / "reviews.csv"
    path.write_text(f"text,label\n{reviews}")
    os.utime(path, (time.time() - 60,) * 2)


@pytest.mark.parametrize(
    ("runner", "make_api", "settings", "file"),
    [
        ("kubeflow", KubeflowApi, kubeflow_settings, "pipeline.yaml"),
        ("vertex", VertexApi, vertex_settings, "pipeline.json"),
    ],
    ids=["kubeflow", "vertex"],
)
def test_cronjob_command_starts_one_run_when_due(
    tmp_path: Path,
    runner: str,
    make_api: Callable[..., PlatformApi],
    settings: Callable[[PlatformApi, Path], list[str]],
    file: str,
) -> None:
    write(tmp_path, "good,positive\n")
    url = f"sqlite:///{tmp_path}/database.sqlite"
    with make_api(["RUNNING", "SUCCEEDED"]) as api:
        assignments = [
            *SETTINGS,
            *settings(api, tmp_path),
            f"image.directory={tmp_path}",
        ]
        compiled = subprocess.run(
            [
                *(sys.executable, "-m", "cli.main", "compile", f"--runner={runner}"),
                *(f"--output={file}", "--cronjob=cronjob.yaml"),
                *(f"--set={assignment}" for assignment in assignments),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert compiled.returncode == 0, compiled.stderr
        cluster = Cluster(tmp_path, tmp_path / "cronjob.yaml", {("bert", "url"): url})

        idle = cluster.pod()
        assert idle.returncode == 0, idle.stderr
        assert idle.stdout.startswith("no run starts: no trigger fired")
        assert api.runs == {}

        write(tmp_path, "good,positive\nbad,negative\n")
        due = cluster.pod()
        assert due.returncode == 0, due.stdout + due.stderr
        assert "a run starts: started by new_data" in due.stdout
        [name] = api.runs
        assert f"submitted as {name}" in due.stdout

        write(tmp_path, "good,positive\nbad,negative\nfine,positive\n")
        active = cluster.pod()  # the platform reports RUNNING, once
        assert active.returncode == 0, active.stderr
        assert "run 1 is running" in active.stdout
        write(tmp_path, "good,positive\nbad,negative\n")
        after = cluster.pod()
        assert after.returncode == 0, after.stderr
        assert f"{runner} reports SUCCEEDED" in after.stdout
        assert "no run starts: no trigger fired" in after.stdout
        assert list(api.runs) == [name]
    database = Database(url)
    [run] = run_states(database, [1, 2]).values()
    assert (run.runner, run.state) == (runner, "succeeded")
    assert [row.started for row in last_decisions(database, 9)].count(True) == 1
    database.close()


def test_failed_submission_fails_the_pod(tmp_path: Path) -> None:
    write(tmp_path, "good,positive\n")
    with KubeflowApi(refuse=401) as api:
        assignments = [*SETTINGS, *kubeflow_settings(api, tmp_path), f"image.directory={tmp_path}"]
        manifest = tmp_path / "cronjob.yaml"
        manifest.write_text(_manifest(assignments))
        url = f"sqlite:///{tmp_path}/database.sqlite"
        cluster = Cluster(tmp_path, manifest, {("bert", "url"): url})
        assert cluster.pod().returncode == 0
        write(tmp_path, "bad,negative\n")
        refused = cluster.pod()
    assert refused.returncode == 1, refused.stdout
    assert "run 1 failed: bert submit ended with exit code 2" in refused.stdout


def _manifest(assignments: list[str]) -> str:
    from pipeline.config import load
    from runners.triggers import cronjob

    config: Any = load(None, assignments, {})
    cronjob.check(config, "kubeflow")
    return cronjob.manifest(config, "kubeflow")
