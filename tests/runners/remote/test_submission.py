"""Submission with the real clients, kfp.Client and Google's, to loopback servers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from modules.contract.errors import UserError
from pipeline.config import Config, load
from runners.kubeflow.client import KubeflowConnection
from runners.remote.platform import RunState, watch
from runners.vertex.client import VertexConnection
from tests.runners.remote.platform_api import KubeflowApi, PlatformApi, VertexApi

SPEC = {
    "pipelineInfo": {"name": "bert"},
    "schemaVersion": "2.1.0",
    "sdkVersion": "tfx-1.16.0",
    "deploymentSpec": {"executors": {"one": {"container": {"image": "r.example.com/bert:1"}}}},
    "components": {"One": {"executorLabel": "one"}},
    "root": {"dag": {"tasks": {"One": {"componentRef": {"name": "One"}}}}},
}


def kubeflow_config(api: PlatformApi, *assignments: str) -> Config:
    fixed = [f"kubeflow.host={api.url}", "pipeline.root=minio://bucket/bert"]
    return load(assignments=[*fixed, *assignments], environ={})


def vertex_config(api: PlatformApi, *assignments: str) -> Config:
    fixed = [f"vertex.api_endpoint={api.url}", "vertex.project=shop", "vertex.region=europe-west1"]
    return load(assignments=[*fixed, *assignments], environ={})


def kubeflow_package() -> str:
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"one": {}}}}}}
    return f"{json.dumps(SPEC)}\n---\n{json.dumps(platform)}\n"


def vertex_package() -> str:
    return json.dumps(
        {
            "displayName": "bert",
            "labels": {"team": "search"},
            "pipelineSpec": SPEC,
            "runtimeConfig": {"gcsOutputDirectory": "gs://bucket/bert"},
        }
    )


def followed(
    connect: Callable[[Config], KubeflowConnection | VertexConnection], config: Config, package: str
) -> tuple[list[tuple[str, str]], RunState]:
    seen: list[tuple[str, str]] = []
    run = connect(config).submit(package)
    end = watch(run, lambda task, state: seen.append((task, state)), poll_seconds=0)
    return seen, end


def test_kubeflow_receives_spec_root_and_platform_settings() -> None:
    with KubeflowApi(["PENDING", "RUNNING", "SUCCEEDED"], tasks={"One": "SUCCEEDED"}) as api:
        config = kubeflow_config(api, "kubeflow.service_account=trainer")
        seen, end = followed(KubeflowConnection, config, kubeflow_package())
    assert [state for task, state in seen if not task] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert ("One", "SUCCEEDED") in seen
    assert end.succeeded
    [run] = api.runs.values()
    assert run["runtime_config"]["pipeline_root"] == "minio://bucket/bert"
    assert run["service_account"] == "trainer"
    assert run["pipeline_spec"]["pipeline_spec"]["pipelineInfo"] == {"name": "bert"}
    assert "kubernetes" in run["pipeline_spec"]["platform_spec"]["platforms"]
    [experiment] = api.sent("POST", "/experiments")
    assert experiment.body["display_name"] == "bert"


def test_kubeflow_failure_is_reported() -> None:
    api = KubeflowApi(["RUNNING", "FAILED"], tasks={"Trainer": "FAILED"}, error="exit code 137")
    with api:
        _, end = followed(KubeflowConnection, kubeflow_config(api), kubeflow_package())
    assert not end.succeeded
    assert end.error == "exit code 137"


def test_kubeflow_token_is_sent_with_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEFLOW_TOKEN", "secret-token")
    with KubeflowApi(["SUCCEEDED"]) as api:
        followed(KubeflowConnection, kubeflow_config(api), kubeflow_package())
        assert {request.headers["authorization"] for request in api.requests} == {
            "Bearer secret-token"
        }


def test_kubeflow_token_is_never_sent_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEFLOW_TOKEN", "secret-token")
    config = load(assignments=["kubeflow.host=http://kubeflow.example.com"], environ={})
    with pytest.raises(UserError, match="must use https"):
        KubeflowConnection(config)


def test_kubeflow_refused_credentials_error_names_the_variable() -> None:
    with KubeflowApi(refuse=401) as api:
        with pytest.raises(UserError, match="KUBEFLOW_TOKEN"):
            KubeflowConnection(kubeflow_config(api))
        assert api.runs == {}


def test_kubeflow_refused_run_is_reported_in_one_line() -> None:
    with KubeflowApi(refuse=500) as api:
        connection = KubeflowConnection(kubeflow_config(api))
        with pytest.raises(UserError, match="500") as error:
            connection.submit(kubeflow_package())
        assert "Failed to create a new run" in str(error.value)
        assert api.runs == {}


def test_kubeflow_unreachable_host_is_reported_on_connect() -> None:
    with KubeflowApi() as api:
        config = kubeflow_config(api)
    with pytest.raises(UserError, match="nothing answers"):
        KubeflowConnection(config)


def test_kubeflow_needs_a_host() -> None:
    with pytest.raises(UserError, match=r"kubeflow\.host is empty"):
        KubeflowConnection(load(environ={}))


def test_vertex_receives_the_job() -> None:
    with VertexApi(["PENDING", "RUNNING", "SUCCEEDED"], tasks={"One": "SUCCEEDED"}) as api:
        config = vertex_config(
            api,
            "vertex.service_account=trainer@shop.iam.gserviceaccount.com",
            "vertex.network=projects/7/global/networks/inner",
        )
        seen, end = followed(VertexConnection, config, vertex_package())
    assert [state for task, state in seen if not task] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert end.succeeded
    [(name, job)] = api.runs.items()
    assert name.startswith("projects/shop/locations/europe-west1/pipelineJobs/bert-")
    assert job["serviceAccount"] == "trainer@shop.iam.gserviceaccount.com"
    assert job["network"] == "projects/7/global/networks/inner"
    assert job["labels"] == {"team": "search"}
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/bert"
    assert job["pipelineSpec"]["schemaVersion"] == "2.1.0"


def test_vertex_failure_is_reported() -> None:
    with VertexApi(["RUNNING", "FAILED"], tasks={"Trainer": "FAILED"}, error="no quota") as api:
        _, end = followed(VertexConnection, vertex_config(api), vertex_package())
    assert (end.state, end.error) == ("FAILED", "Trainer: no quota")


def test_vertex_refused_job_is_reported_in_one_line() -> None:
    with VertexApi(refuse=403) as api:
        connection = VertexConnection(vertex_config(api))
        with pytest.raises(UserError, match=r"403: .*Permission denied"):
            connection.submit(vertex_package())
        assert api.runs == {}


def test_vertex_unreachable_host_is_reported_in_one_line() -> None:
    with VertexApi() as api:
        config = vertex_config(api)
    with pytest.raises(UserError, match="cannot be reached"):
        VertexConnection(config).submit(vertex_package())


def test_vertex_needs_a_project() -> None:
    with pytest.raises(UserError, match=r"vertex\.project is empty"):
        VertexConnection(load(environ={}))


def test_vertex_refuses_http_to_another_machine() -> None:
    words = ["vertex.api_endpoint=http://example.com", "vertex.project=shop"]
    with pytest.raises(UserError, match="http only on this machine"):
        VertexConnection(load(assignments=words, environ={}))


def test_vertex_missing_credentials_error_explains_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(UserError, match="gcloud auth application-default login"):
        VertexConnection(load(assignments=["vertex.project=shop"], environ={}))
