"""Custom jobs of Trainer and Tuner on Vertex AI, with Google's client and a loopback server.

``tests/conformance`` runs a job's containers.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from google.cloud import aiplatform_v1
from google.protobuf import json_format

from modules.contract.errors import UserError
from pipeline.config import Config, load
from runners.remote import container_entrypoint, pipeline_spec
from runners.vertex import custom_job
from runners.vertex import platform as vertex
from tests.runners.remote.platform_api import CustomJobApi

IMAGE = "registry.example.com/bert:0123abc-gpu"
JOB = "projects/shop/locations/europe-west1/customJobs/4711"
WORDS = ["--mount_parameters", "--executor_class_path", "a.B", "{}"]


def make_config(*assignments: str) -> Config:
    fixed = [
        "image.name=registry.example.com/bert:0123abc",
        f'image.nodes={{Trainer = "{IMAGE}"}}',
        "pipeline.root=gs://bucket/bert",
        "pusher.base_directory=gs://bucket/models",
        "resources.accelerator=NVIDIA_TESLA_T4",
        "vertex.project=shop",
        "vertex.region=europe-west1",
        "vertex.training_workers=3",
        "vertex.training_machine_type=n1-standard-8",
        'vertex.labels={team = "search"}',
    ]
    return load(assignments=[*fixed, *assignments], environ={})


def run(api: CustomJobApi, *assignments: str) -> None:
    config = make_config(f"vertex.api_endpoint={api.url}", *assignments)
    text = custom_job.settings_of(config, "Trainer", IMAGE).to_json()
    words = [custom_job.FLAG, text, *WORDS]
    custom_job.run_elsewhere(text, words, poll_seconds=0)


def test_job_runs_the_same_command_on_chief_and_workers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with CustomJobApi(states=["QUEUED", "PENDING", "RUNNING", "RUNNING", "SUCCEEDED"]) as api:
        run(
            api,
            "vertex.service_account=trainer@shop.iam.gserviceaccount.com",
            "vertex.network=projects/7/global/networks/inner",
        )
    [body] = api.runs.values()
    json_format.ParseDict(body, aiplatform_v1.CustomJob.pb()())  # refuses unknown fields
    assert body["displayName"] == "bert-trainer"
    assert body["labels"] == {"team": "search"}
    spec = body["jobSpec"]
    assert spec["serviceAccount"] == "trainer@shop.iam.gserviceaccount.com"
    assert spec["network"] == "projects/7/global/networks/inner"
    assert spec["scheduling"] == {"restartJobOnWorkerRestart": True}
    chief, workers = spec["workerPoolSpecs"]
    assert (int(chief.pop("replicaCount")), int(workers.pop("replicaCount"))) == (1, 3)
    assert chief == workers
    assert chief["containerSpec"] == {
        "imageUri": IMAGE,
        "command": ["python", "-m", "runners.remote.container_entrypoint"],
        "args": WORDS,
    }
    machine = chief["machineSpec"]
    assert machine["machineType"] == "n1-standard-8"
    assert aiplatform_v1.AcceleratorType(machine["acceleratorType"]).name == "NVIDIA_TESLA_T4"
    assert machine["acceleratorCount"] == 1
    assert api.cancelled == []
    assert capsys.readouterr().out.splitlines() == [
        f"{JOB}: submitted, 1 chief and 3 workers",
        *(f"{JOB}: {state}" for state in ("QUEUED", "PENDING", "RUNNING", "SUCCEEDED")),
    ]


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED"])
def test_unsuccessful_job_fails_the_node(state: str) -> None:
    with CustomJobApi(states=["RUNNING", state], error="out of memory") as api:
        with pytest.raises(UserError, match=f"{JOB} ended as {state}: out of memory"):
            run(api)
        assert api.cancelled == []


def test_cancelled_node_cancels_its_job() -> None:
    def cancel(_: dict[str, Any]) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "RUNNING"

    before = signal.getsignal(signal.SIGTERM)
    with CustomJobApi(on_poll=cancel) as api:
        with pytest.raises(SystemExit) as end:
            run(api)
        assert end.value.code == 128 + signal.SIGTERM
        assert api.cancelled == [JOB]
    assert signal.getsignal(signal.SIGTERM) is before


def test_refused_job_is_reported_in_one_line() -> None:
    with CustomJobApi(refuse=403) as api:
        with pytest.raises(UserError, match=r"403: .*Permission denied"):
            run(api)
        assert api.runs == {}


def test_unknown_accelerator_is_refused_before_a_request_is_sent() -> None:
    with CustomJobApi() as api:
        with pytest.raises(UserError, match=r"^resources\.accelerator: must be .* NVIDIA_L4"):
            run(api, "resources.accelerator=NVIDIA_X9")
        assert api.requests == []


@pytest.mark.slow
def test_only_trainer_and_tuner_are_compiled_to_custom_jobs() -> None:
    config = make_config("tuner.enabled=true", "vertex.tuning_workers=2")
    vertex.check(config)
    spec = json.loads(vertex.compile_pipeline(config))["pipelineSpec"]
    without = make_config("tuner.enabled=true", "vertex.training_workers=0")
    spec_without = json.loads(vertex.compile_pipeline(without))["pipelineSpec"]
    jobs = {}
    for node in pipeline_spec.tasks(spec):
        mine, other = (pipeline_spec.container(s, node) for s in (spec, spec_without))
        if node not in ("Trainer", "Tuner"):
            assert mine == other
            continue
        flag, text, *rest = mine["args"]
        assert (flag, rest) == (custom_job.FLAG, other["args"])
        jobs[node] = custom_job.CustomJobSettings.from_json(text)
        assert jobs[node] == custom_job.settings_of(config, node, mine["image"])
        assert mine["resources"] == {"cpuLimit": 2.0, "memoryLimit": 8.0}
        assert other["resources"]["accelerator"]["type"] == "NVIDIA_TESLA_T4"
    assert {node: (job.name, job.workers) for node, job in jobs.items()} == {
        "Trainer": ("bert-trainer", 3),
        "Tuner": ("bert-tuner", 2),
    }


def test_disabled_tuner_needs_no_machines() -> None:
    assignments = ("vertex.tuning_workers=2", "vertex.training_workers=0")
    assert custom_job.workers(make_config(*assignments), "Tuner") == 0
    on = make_config(*assignments, "tuner.enabled=true")
    assert custom_job.workers(on, "Tuner") == 2
    assert custom_job.workers(on, "Evaluator") == 0
    with pytest.raises(UserError, match=r"machine_type is empty and vertex\.tuning_workers is 2"):
        vertex.check(
            make_config(*assignments, "tuner.enabled=true", "vertex.training_machine_type=")
        )


@pytest.mark.parametrize(("role", "writes"), [("chief", True), ("worker", False)])
def test_only_the_chief_writes_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, writes: bool
) -> None:
    cluster = {"chief": ["one:2222"], "worker": ["two:2222"]}
    place = {"cluster": cluster, "task": {"type": role, "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(place))
    monkeypatch.setattr(container_entrypoint, "run_executor", lambda *_: {"artifacts": {}})
    file = tmp_path / "output.json"
    order = {"outputs": {"artifacts": {}, "outputFile": str(file)}}
    words = ["--executor_class_path=a.B", f"--json_serialized_invocation_args={json.dumps(order)}"]
    assert container_entrypoint.main(words) == 0
    assert file.exists() == writes
