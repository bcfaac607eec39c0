"""Vertex AI: Tuner and Trainer as custom jobs on two machines each, which are local processes."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.backends import TaskFailedError, VertexBackend
from tests.conformance.conftest import Platform
from tests.conformance.task_processes import REPOSITORY, Tasks, TaskZygote
from tests.e2e.conftest import Workplace
from tests.runners.remote.platform_api import CustomJobApi

pytestmark = pytest.mark.integration
#: The two processes need about 40 s on two idle cores, mostly for imports. A job that takes longer
#: than this fails, with its logs.
JOB_SECONDS = 300


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class JobMachines:
    """Machines of Vertex AI, each of which is a local process that runs a job's container.

    Args:
        place: the containers' working directory.
        mounts: the folder in place of ``/``, with the mount ``/gcs/``.
    """

    def __init__(self, place: Path, mounts: Path) -> None:
        self._place = place
        self._mounts = mounts
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._deadlines: dict[str, float] = {}

    def __call__(self, job: dict[str, Any]) -> str:
        """Return the job's state; the first call starts the job."""
        title = job["displayName"]
        if title not in self._deadlines:
            self._start(job)
            self._deadlines[title] = time.monotonic() + JOB_SECONDS
        codes = [p.poll() for name, p in self.processes.items() if name.startswith(title)]
        if any(codes) or (None in codes and time.monotonic() > self._deadlines[title]):
            return "FAILED"
        return "RUNNING" if None in codes else "SUCCEEDED"

    def close(self) -> None:
        """End all processes."""
        for process in self.processes.values():
            process.kill()
            process.wait()

    def logs(self) -> str:
        """Return the end of each machine's log."""
        files = [self._place / f"{name}.log" for name in self.processes]
        return "\n".join(f"{file.name}:\n{file.read_text()[-3000:]}" for file in files)

    def _start(self, job: dict[str, Any]) -> None:
        pools = job["jobSpec"]["workerPoolSpecs"]
        machines = [
            (role, number, pool["containerSpec"])
            for role, pool in zip(("chief", "worker"), pools, strict=True)
            for number in range(int(pool["replicaCount"]))
        ]
        cluster: dict[str, list[str]] = {}
        for (role, _, _), port in zip(machines, free_ports(len(machines)), strict=True):
            cluster.setdefault(role, []).append(f"127.0.0.1:{port}")
        for role, number, container in machines:
            task = {"type": role, "index": number, "trial": "", "cloud": "1a2b"}
            place = {"cluster": cluster, "environment": "cloud", "job": "{}", "task": task}
            assert container["command"][0] == "python"
            words = [sys.executable, *container["command"][1:], *container["args"]]
            name = f"{job['displayName']}-{role}-{number}"
            with (self._place / f"{name}.log").open("w") as log:
                self.processes[name] = subprocess.Popen(
                    words,
                    cwd=self._place,
                    env={
                        **os.environ,
                        "PYTHONPATH": str(REPOSITORY),
                        "BERT_MOUNT_ROOT": str(self._mounts),
                        "TF_CONFIG": json.dumps(place),
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )


def test_two_machines_tune_and_train_the_pushed_model(place: Workplace, zygote: TaskZygote) -> None:
    folder = place.folder / "on-vertex-workers"
    machines = JobMachines(place.folder, folder / "mounts")
    tasks = Tasks(place.folder, zygote)
    with (
        contextlib.closing(machines),
        CustomJobApi(on_poll=machines) as api,
    ):
        platform = Platform("vertex", VertexBackend(folder, tasks), place)
        text = platform.compile(
            tuner__enabled="true",
            tuner__algorithm="grid",
            tuner__search_space="{batch_size = {values = [16, 32]}}",
            tuner__epochs="1",
            vertex__project="shop",
            vertex__api_endpoint=api.url,
            vertex__tuning_workers="1",
            vertex__training_workers="1",
            vertex__training_machine_type="n1-standard-8",
        )
        try:
            done = platform.backend.run(text)
        except TaskFailedError as error:
            raise AssertionError(f"{error}\n{machines.logs()}") from error
    codes = {name: process.returncode for name, process in machines.processes.items()}
    assert codes == {
        f"bert-{node}-{role}-0": 0 for node in ("tuner", "trainer") for role in ("chief", "worker")
    }
    _check_search(platform.backend.artifact(done["Tuner"], "tuner_results"), machines.logs())
    best = platform.backend.artifact(done["Tuner"], "best_hyperparameters")
    tuned = json.loads((best / "best_hyperparameters.txt").read_text())["values"]["batch_size"]
    [model] = done["Trainer"].outputs["model"]
    assert model["uri"].startswith("gs://")
    export = platform.backend.artifact(done["Trainer"], "model") / "Format-Serving"
    card = json.loads((export / "assets.extra/model_card.json").read_text())
    assert card["hparams"]["batch_size"] == tuned
    [pushed] = done["Pusher"].outputs["pushed_model"]
    version = platform.backend.path(pushed["metadata"]["pushed_destination"])
    for name in ("saved_model.pb", "variables/variables.index"):
        assert (version / name).read_bytes() == (export / name).read_bytes()


def _check_search(results: Path, logs: str) -> None:
    """Check that the machines tried both values and that the chief wrote the results."""
    trials = json.loads((results / "tuner_results.json").read_text())
    assert sorted(trial["batch_size"] for trial in trials) == [16, 32], logs
    assert all(0 <= trial["score"] <= 1 for trial in trials)
