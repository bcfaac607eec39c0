"""Vertex AI: the Trainer as a custom job whose containers run here and train together."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.backends import TaskFailedError
from tests.conformance.conftest import Platform
from tests.conformance.task_processes import REPOSITORY
from tests.runners.platform_api import CustomJobApi

pytestmark = pytest.mark.slow


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class JobMachines:
    """Runs a job's containers as processes, as Vertex runs them on machines.

    Args:
        place: the containers' working directory.
        mounts: the folder that stands for ``/``, where ``/gcs/`` is.
    """

    def __init__(self, place: Path, mounts: Path) -> None:
        self._place = place
        self._mounts = mounts
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __call__(self, job: dict[str, Any]) -> str:
        """The job's state; the first look starts it."""
        if not self.processes:
            self._start(job)
        codes = [process.poll() for process in self.processes.values()]
        if any(codes):
            return "FAILED"
        return "RUNNING" if None in codes else "SUCCEEDED"

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes.values():
            process.kill()
            process.wait()

    def logs(self) -> str:
        """The end of each machine's log."""
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
            name = f"{role}-{number}"
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


@pytest.mark.parametrize("platform", ["vertex"], indirect=True)
def test_two_machines_train_the_model_that_is_pushed(platform: Platform) -> None:
    machines = JobMachines(platform.place.folder, platform.backend.folder / "mounts")
    with contextlib.closing(machines), CustomJobApi(on_look=machines) as api:
        text = platform.compile(
            vertex__project="shop",
            vertex__api_endpoint=api.url,
            vertex__training_workers="1",
            vertex__training_machine_type="n1-standard-8",
            trainer__seed="11",
        )
        try:
            done = platform.backend.run(text)
        except TaskFailedError as error:
            raise AssertionError(machines.logs()) from error
    assert list(machines.processes) == ["chief-0", "worker-0"]
    [model] = done["Trainer"].outputs["model"]
    assert model["uri"].startswith("gs://")
    folder = platform.backend.artifact(done["Trainer"], "model")
    assert (folder / "Format-Serving" / "saved_model.pb").is_file()
    assert {done[name].state for name in ("Trainer", "Evaluator")} == {"ran"}
