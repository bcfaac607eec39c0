"""Deployment of pushed models to a Vertex AI endpoint, with Google's client and a loopback server.

``tests/conformance`` runs a pipeline with that server.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.object_store_mounts import ROOT_VARIABLE
from modules.contract.errors import UserError
from modules.contract.pushed_model import MANIFEST_FILE, Manifest
from pipeline.config import Config, load
from runners.remote import pipeline_spec
from runners.vertex import deployment, endpoint
from runners.vertex import platform as vertex
from tests.runners.vertex.prediction_api import PROJECT_NUMBER, PredictionApi

IMAGE = "europe-west1-docker.pkg.dev/shop/serving/tensorflow:2.19.1"
PREBUILT = "europe-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
PARENT = f"projects/{PROJECT_NUMBER}/locations/europe-west1"


def make_config(*assignments: str) -> Config:
    fixed = [
        "image.name=registry.example.com/bert:0123abc",
        "pipeline.root=gs://bucket/bert",
        "pusher.base_directory=gs://bucket/models",
        "vertex.project=shop",
        "vertex.region=europe-west1",
        'vertex.labels={team = "search"}',
        "vertex.endpoint=reviews",
        f"vertex.endpoint_image={IMAGE}",
    ]
    return load(assignments=[*fixed, *assignments], environ={})


class Pushes:
    """A bucket to which versions are pushed."""

    def __init__(self, folder: Path) -> None:
        self.bucket = folder / "gcs" / "bucket"

    def push(self, version: int, fingerprint: str = "") -> dict[str, Any]:
        """Push a new version and return its ``PushedModel``."""
        folder = self.bucket / "models" / str(version)
        (folder / MANIFEST_FILE).parent.mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").write_text(f"model {version}")
        manifest = Manifest(fingerprint or f"{version:064x}", "gs://bucket/model", version)
        (folder / MANIFEST_FILE).write_text(manifest.to_json())
        return self.artifact(
            pushed=1,
            pushed_destination=f"gs://bucket/models/{version}",
            pushed_version=str(version),
        )

    def artifact(self, **metadata: Any) -> dict[str, Any]:
        uri = "gs://bucket/bert/run/Pusher/pushed_model"
        return {"uri": uri, "metadata": metadata}


@pytest.fixture
def pushes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pushes:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    return Pushes(tmp_path)


@pytest.fixture
def api() -> Iterator[PredictionApi]:
    with PredictionApi() as server:
        yield server


def deploy(api: PredictionApi, artifact: dict[str, Any], *assignments: str) -> dict[str, Any]:
    """Do what the Pusher's task does after its executor; return the metadata of ``artifact``."""
    settings = endpoint.settings_of(make_config(f"vertex.api_endpoint={api.url}", *assignments))
    output = {"artifacts": {"pushed_model": {"artifacts": [artifact]}}}
    endpoint.deploy_pushed(settings.to_json(), output)
    return artifact["metadata"]


def test_first_version_creates_the_endpoint_and_gets_all_traffic(
    api: PredictionApi, pushes: Pushes, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = deploy(api, pushes.push(17), "vertex.endpoint_traffic=10")
    assert api.changes == ["upload", "endpoints", "deployModel"]
    assert api.deployed() == {"bert@1": 100}
    [model] = api.models["bert"]
    content = model["labels"].pop("content")
    assert len(content) == 32
    assert model["labels"] == {"team": "search", "commit": "0123abc", "version": "17"}
    assert model["versionAliases"] == ["default", "v17"]
    [endpoint] = api.endpoints.values()
    assert (endpoint["displayName"], endpoint["labels"]) == ("reviews", {"team": "search"})
    [deployed] = endpoint["deployedModels"]
    assert deployed["displayName"] == "bert-17"
    assert deployed["dedicatedResources"] == {
        "machineSpec": {"machineType": "n1-standard-4"},
        "minReplicaCount": 1,
        "maxReplicaCount": 1,
    }
    assert metadata["vertex_endpoint"] == endpoint["name"]
    assert metadata["vertex_model"] == "projects/shop/locations/europe-west1/models/bert@1"
    assert capsys.readouterr().out.splitlines() == [
        "projects/shop/locations/europe-west1/models/bert@1: version 17 registered",
        f"{endpoint['name']}: created",
        f"{endpoint['name']}: bert@1 deployed, traffic 100%",
    ]


def test_tensorflow_serving_gets_a_folder_that_contains_the_version(
    api: PredictionApi, pushes: Pushes
) -> None:
    deploy(api, pushes.push(17))
    [model] = api.models["bert"]
    assert model["artifactUri"] == "gs://bucket/bert/run/Pusher/pushed_model/serving"
    copy = pushes.bucket / "bert/run/Pusher/pushed_model/serving"
    assert [path.name for path in copy.iterdir()] == ["17"]
    assert (copy / "17" / "saved_model.pb").read_text() == "model 17"
    assert model["containerSpec"] == {
        "imageUri": IMAGE,
        "command": ["/usr/bin/tensorflow_model_server"],
        "args": [
            "--port=8500",
            "--rest_api_port=8080",
            "--model_name=default",
            "--model_base_path=$(AIP_STORAGE_URI)",
            "--file_system_poll_wait_seconds=0",
        ],
        "env": [{"name": "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "value": "1"}],
        "ports": [{"containerPort": 8080}],
        "predictRoute": "/v1/models/default:predict",
        "healthRoute": "/v1/models/default",
    }


def test_prebuilt_container_gets_the_version_folder(api: PredictionApi, pushes: Pushes) -> None:
    deploy(api, pushes.push(17), f"vertex.endpoint_image={PREBUILT}")
    [model] = api.models["bert"]
    assert model["artifactUri"] == "gs://bucket/models/17"
    assert model["containerSpec"] == {"imageUri": PREBUILT}
    assert not (pushes.bucket / "bert").exists()


def test_version_runs_on_the_configured_machines(api: PredictionApi, pushes: Pushes) -> None:
    deploy(
        api,
        pushes.push(17),
        "vertex.endpoint_machine_type=g2-standard-4",
        "vertex.endpoint_accelerator=NVIDIA_L4",
        "vertex.endpoint_min_replicas=2",
        "vertex.endpoint_max_replicas=5",
    )
    [endpoint] = api.endpoints.values()
    [deployed] = endpoint["deployedModels"]
    assert deployed["dedicatedResources"] == {
        "machineSpec": {
            "machineType": "g2-standard-4",
            "acceleratorType": "NVIDIA_L4",
            "acceleratorCount": 1,
        },
        "minReplicaCount": 2,
        "maxReplicaCount": 5,
    }


def test_next_version_takes_all_traffic_and_the_old_one_is_undeployed(
    api: PredictionApi, pushes: Pushes
) -> None:
    deploy(api, pushes.push(17))
    deploy(api, pushes.push(18))
    assert api.changes[3:] == ["upload", "deployModel", "undeployModel"]
    assert api.deployed() == {"bert@2": 100}
    assert [model["versionAliases"] for model in api.models["bert"]] == [
        ["v17"],
        ["default", "v18"],
    ]


def test_old_versions_stay_deployed_without_undeploy(api: PredictionApi, pushes: Pushes) -> None:
    deploy(api, pushes.push(17))
    deploy(api, pushes.push(18), "vertex.endpoint_undeploy=false")
    assert api.deployed() == {"bert@1": 0, "bert@2": 100}


def test_new_version_gets_the_configured_share_of_traffic(
    api: PredictionApi, pushes: Pushes
) -> None:
    deploy(api, pushes.push(17))
    deploy(api, pushes.push(18), "vertex.endpoint_traffic=10")
    assert api.deployed() == {"bert@1": 90, "bert@2": 10}


def test_deploying_the_same_version_again_changes_nothing(
    api: PredictionApi, pushes: Pushes
) -> None:
    first = deploy(api, pushes.push(17))
    before = list(api.changes)
    again = deploy(api, pushes.push(17))
    assert api.changes == before
    assert again == first


def test_manually_changed_traffic_is_kept(api: PredictionApi, pushes: Pushes) -> None:
    deploy(api, pushes.push(17))
    deploy(api, pushes.push(18), "vertex.endpoint_undeploy=false")
    [endpoint] = api.endpoints.values()
    old, new = (model["id"] for model in endpoint["deployedModels"])
    endpoint["trafficSplit"] = {old: 100}
    deploy(api, pushes.push(18))
    assert api.deployed() == {"bert@1": 100, "bert@2": 0}
    assert new in {model["id"] for model in endpoint["deployedModels"]}


def test_new_machines_take_over_the_traffic_of_the_same_version(
    api: PredictionApi, pushes: Pushes
) -> None:
    deploy(api, pushes.push(17))
    deploy(api, pushes.push(18), "vertex.endpoint_traffic=10")
    deploy(api, pushes.push(18), "vertex.endpoint_traffic=10", "vertex.endpoint_max_replicas=3")
    assert api.deployed() == {"bert@1": 90, "bert@2": 10}
    [endpoint] = api.endpoints.values()
    replicas = [m["dedicatedResources"]["maxReplicaCount"] for m in endpoint["deployedModels"]]
    assert replicas == [1, 3]


def test_different_image_registers_a_new_version(api: PredictionApi, pushes: Pushes) -> None:
    deploy(api, pushes.push(17))
    deploy(api, pushes.push(17), f"vertex.endpoint_image={PREBUILT}")
    assert [model["containerSpec"]["imageUri"] for model in api.models["bert"]] == [IMAGE, PREBUILT]
    assert api.deployed() == {"bert@2": 100}


def test_models_of_other_pipelines_stay_deployed(api: PredictionApi, pushes: Pushes) -> None:
    """Another pipeline serves on the same endpoint: its traffic moves, but its model stays."""
    deploy(api, pushes.push(17), "pipeline.name=other")
    deploy(api, pushes.push(17))
    assert api.deployed() == {"other@1": 0, "bert@1": 100}


def test_endpoint_is_found_by_resource_name(api: PredictionApi, pushes: Pushes) -> None:
    deploy(api, pushes.push(17))
    [endpoint] = api.endpoints.values()
    deploy(api, pushes.push(18), f"vertex.endpoint={endpoint['name']}")
    assert api.deployed() == {"bert@2": 100}
    with pytest.raises(UserError, match=r"404: .*The Endpoint 7 is not found"):
        deploy(api, pushes.push(19), f"vertex.endpoint={PARENT}/endpoints/7")
    assert api.deployed() == {"bert@2": 100}
    assert len(api.models["bert"]) == 2


def test_ambiguous_endpoint_name_is_refused(api: PredictionApi, pushes: Pushes) -> None:
    for number in ("5", "6"):
        name = f"{PARENT}/endpoints/{number}"
        api.endpoints[number] = {"name": name, "displayName": "reviews"}
    with pytest.raises(UserError, match=f"--set vertex.endpoint={PARENT}/endpoints/5"):
        deploy(api, pushes.push(17))
    assert api.changes == []


@pytest.mark.parametrize("metadata", [{"pushed": 0, "outcome": "the Evaluator did not bless it"}])
def test_rejected_model_causes_no_request(
    api: PredictionApi, pushes: Pushes, metadata: dict[str, Any]
) -> None:
    assert deploy(api, pushes.artifact(**metadata)) == metadata
    assert api.requests == []


def test_unfinished_operation_is_polled(pushes: Pushes) -> None:
    with PredictionApi(polls=1) as api:
        deploy(api, pushes.push(17))
        assert api.deployed() == {"bert@1": 100}
        assert any("/operations/" in request.path for request in api.requests)


@pytest.mark.parametrize(
    ("step", "counts"),
    [("upload", (0, 0)), ("create", (1, 0)), ("deploy", (1, 1)), ("undeploy", (2, 1))],
)
def test_failure_is_reported_in_one_line_and_completed_by_the_next_run(
    api: PredictionApi, pushes: Pushes, step: str, counts: tuple[int, int]
) -> None:
    version = 17
    if step == "undeploy":
        deploy(api, pushes.push(version))
        version += 1
    api.failures[step] = "Quota of n1-standard-4\nis exhausted"
    artifact = pushes.push(version)
    with pytest.raises(UserError) as refusal:
        deploy(api, artifact)
    line = str(refusal.value)
    assert f"version {version} was pushed to gs://bucket/models/{version}" in line
    assert "429: Quota of n1-standard-4" in line
    assert "submit the same run again" in line
    assert "vertex_endpoint" not in artifact["metadata"]
    assert (sum(map(len, api.models.values())), len(api.endpoints)) == counts
    assert all(traffic in (0, 100) for e in api.endpoints for traffic in api.deployed().values())
    del api.failures[step]
    deploy(api, pushes.push(version))
    assert list(api.deployed().values()) == [100]
    assert len(api.models["bert"]) == version - 16
    assert len(api.endpoints) == 1


def test_failed_deployment_does_not_change_the_traffic(api: PredictionApi, pushes: Pushes) -> None:
    deploy(api, pushes.push(17))
    api.failures["deploy"] = "no such machine"
    with pytest.raises(UserError, match="no such machine"):
        deploy(api, pushes.push(18))
    assert api.deployed() == {"bert@1": 100}


def test_refused_account_is_reported_in_one_line(pushes: Pushes) -> None:
    with (
        PredictionApi(refuse=403) as api,
        pytest.raises(UserError, match=r"403: .*Permission denied"),
    ):
        deploy(api, pushes.push(17))


@pytest.mark.parametrize(
    ("now", "share", "replaced", "after"),
    [
        ({}, 30, (), {"0": 100}),
        ({"a": 0}, 30, ("a",), {"0": 100}),
        ({"a": 100}, 100, (), {"0": 100}),
        ({"a": 100}, 0, (), {"a": 100, "0": 0}),
        ({"a": 33, "b": 33, "c": 34}, 50, (), {"a": 16, "b": 16, "c": 18, "0": 50}),
        ({"a": 90, "b": 10}, 50, ("b",), {"a": 90, "0": 10}),
        ({"a": 100, "b": 0}, 50, ("b",), {"a": 100, "0": 0}),
    ],
)
def test_traffic_always_adds_up_to_100(
    now: dict[str, int], share: int, replaced: tuple[str, ...], after: dict[str, int]
) -> None:
    assert deployment.traffic_split(now, share, replaced) == after
    assert sum(after.values()) == 100


def test_unknown_accelerator_is_refused_at_compile_time() -> None:
    with pytest.raises(UserError, match=r"^vertex\.endpoint_accelerator: must be .* NVIDIA_L4"):
        endpoint.settings_of(make_config("vertex.endpoint_accelerator=NVIDIA_X9"))


@pytest.mark.slow
def test_only_the_pusher_is_compiled_to_deploy() -> None:
    config, without = make_config(), make_config("vertex.endpoint=")
    vertex.check(config)
    spec, spec_without = (
        json.loads(vertex.compile_pipeline(c))["pipelineSpec"] for c in (config, without)
    )
    flag, text, *rest = pipeline_spec.container(spec, "Pusher")["args"]
    assert flag == endpoint.FLAG
    assert endpoint.EndpointSettings.from_json(text) == endpoint.settings_of(config)
    pipeline_spec.container(spec, "Pusher")["args"] = rest
    assert spec == spec_without
