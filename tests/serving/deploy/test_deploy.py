"""Checks of the deployment files with official schemas, our parsers, and a run of the health check.

The schemas are those of Kubernetes (package kubernetes-validate, strict) and compose-spec (package
check-jsonschema). KServe's package cannot be installed next to ours; set BERT_KSERVE_CRD to the
schema in a clone of its repository: config/crd/full/serving.kserve.io_inferenceservices.yaml.
"""

import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.sections.evaluation import InfraValidatorSection
from serving.server import monitoring_config
from serving.server.batches.batching import BatchLimits
from serving.server.versions import batching_parameters, model_config
from serving.server.worker import precision

DEPLOY = Path(__file__).resolve().parents[3] / "serving" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
CONFIG = DEPLOY / "config"
MANIFESTS = sorted(KUBERNETES.glob("*.yaml"))
#: Only kubectl reads kustomization.yaml; it is not sent to the API.
API_MANIFESTS = [path for path in MANIFESTS if path.name != "kustomization.yaml"]
CRD_VARIABLE = "BERT_KSERVE_CRD"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def by_kind() -> dict[str, Any]:
    return {manifest["kind"]: manifest for manifest in map(load, MANIFESTS)}


@pytest.fixture
def compose() -> Any:
    return load(DEPLOY / "compose.yaml")


def server_of(kind: str) -> dict[str, Any]:
    """Return the container of stock TensorFlow Serving: its image, command and arguments."""
    if kind == "compose":
        service = load(DEPLOY / "compose.yaml")["services"]["model-server"]
        return {"image": service["image"], "args": service["command"], **service}
    return by_kind()["Deployment"]["spec"]["template"]["spec"]["containers"][0]


# Schemas


@pytest.mark.parametrize("version", ["1.29", "1.33"])
@pytest.mark.parametrize("path", API_MANIFESTS, ids=lambda path: path.name)
def test_manifest_matches_the_kubernetes_schema(path: Path, version: str) -> None:
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed"
    )
    kubernetes_validate.validate(load(path), version, strict=True)


def test_kubernetes_schema_refuses_a_misspelt_field() -> None:
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed"
    )
    manifest = by_kind()["Deployment"]
    manifest["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, "1.33", strict=True)


def test_compose_file_matches_the_compose_schema(compose: Any) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    import jsonschema

    schemas = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text("utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    validator.validate(compose)
    compose["services"]["model-server"]["imag"] = "x"
    assert not validator.is_valid(compose)


def test_inference_service_matches_the_kserve_schema() -> None:
    if CRD_VARIABLE not in os.environ:
        pytest.skip(f"{CRD_VARIABLE} names no CustomResourceDefinition of KServe")
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    [version] = load(Path(os.environ[CRD_VARIABLE]))["spec"]["versions"]
    schema = closed(version["schema"]["openAPIV3Schema"])
    service = load(DEPLOY / "kserve" / "inferenceservice.yaml")
    jsonschema.Draft202012Validator(schema).validate(service)
    service["spec"]["predictor"]["model"]["storageUrl"] = "x"
    assert not jsonschema.Draft202012Validator(schema).is_valid(service)


def closed(schema: Any, *, is_root: bool = True) -> Any:
    """Return the schema with unknown fields forbidden, except in metadata, which it leaves open."""
    if isinstance(schema, list):
        return [closed(item, is_root=False) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: closed(value, is_root=False) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        copy.setdefault("additionalProperties", False)
    return copy


def test_inference_service_runs_the_same_server_as_the_deployment() -> None:
    predictor = load(DEPLOY / "kserve" / "inferenceservice.yaml")["spec"]["predictor"]
    model, container = predictor["model"], server_of("kubernetes")
    assert model["modelFormat"]["name"] == "tensorflow"
    assert f"tensorflow/serving:{model['runtimeVersion']}" == InfraValidatorSection().image
    assert model["resources"] == container["resources"]
    assert set(model["args"]) <= set(container["args"])
    assert (
        model["storageUri"]
        == f"pvc://{by_kind()['PersistentVolumeClaim']['metadata']['name']}/default"
    )


# TensorFlow Serving's own files


def test_embedded_server_reads_the_model_config() -> None:
    proto = model_config.read_file(str(CONFIG / "models.txt"))
    [model] = model_config.from_proto(proto).values()
    assert (model.name, model.base_path, dict(model.labels)) == (
        "default",
        "/models/default",
        {"stable": 1},
    )


def test_batching_parameters_accept_the_clients_requests() -> None:
    parameters = batching_parameters.read(str(CONFIG / "batching.txt"))
    assert parameters.num_batch_threads == 2
    limits = parameters.apply(BatchLimits())
    assert limits.max_batch_size == 64
    assert parameters.message.max_batch_size.value >= limits.max_batch_size
    assert limits.timeout_seconds == 0


def test_monitoring_config_serves_the_scraped_path() -> None:
    monitoring = monitoring_config.read(str(CONFIG / "monitoring.txt"))
    template = by_kind()["Deployment"]["spec"]["template"]["metadata"]
    assert monitoring.enabled
    assert monitoring.path == template["annotations"]["prometheus.io/path"]


def test_config_map_contains_the_config_files() -> None:
    files = {path.name: path.read_text("utf-8") for path in CONFIG.iterdir()}
    assert by_kind()["ConfigMap"]["data"] == files


# Consistency between the files


@pytest.mark.parametrize("kind", ["compose", "kubernetes"])
def test_server_is_pinned_confined_and_configured(kind: str) -> None:
    server = server_of(kind)
    assert server["image"] == InfraValidatorSection().image
    flags = dict(argument.removeprefix("--").split("=", 1) for argument in server["args"])
    for name in ("model_config_file", "batching_parameters_file", "monitoring_config_file"):
        folder, _, file = flags[name].rpartition("/")
        assert folder == "/config"
        assert (CONFIG / file).is_file()
    threads = flags["tensorflow_inter_op_parallelism"]
    assert flags["tensorflow_intra_op_parallelism"] == "1"
    batching = (CONFIG / "batching.txt").read_text("utf-8")
    assert f"num_batch_threads {{ value: {threads} }}" in batching
    variables = server["environment" if kind == "compose" else "env"]
    assert precision.VARIABLE in json.dumps(variables)
    if kind == "compose":
        assert server["user"] == "1000:1000"
        assert server["read_only"]
        assert server["cap_drop"] == ["ALL"]
        assert all(volume["read_only"] for volume in server["volumes"])
        assert all(port.startswith("127.0.0.1:") for port in server["ports"])
        limits = server["deploy"]["resources"]["limits"]
        assert limits == {"cpus": threads, "memory": "3g"}
    else:
        context = server["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert all(m["readOnly"] for m in server["volumeMounts"] if m["mountPath"] != "/tmp")
        assert by_kind()["Deployment"]["spec"]["template"]["spec"]["securityContext"][
            "runAsNonRoot"
        ]
        assert server["resources"]["limits"]["cpu"] == threads


def test_compose_and_kubernetes_pass_the_same_flags() -> None:
    assert server_of("compose")["args"] == server_of("kubernetes")["args"]


def test_embedded_server_has_the_same_flags() -> None:
    from cli.commands.server_options import HELP

    assert {a.removeprefix("--").split("=")[0] for a in server_of("compose")["args"]} <= set(HELP)


def test_all_manifests_select_the_pods_of_the_deployment() -> None:
    kinds = by_kind()
    pods = kinds["Deployment"]["spec"]["template"]
    labels = pods["metadata"]["labels"].items()
    container = pods["spec"]["containers"][0]
    assert kinds["Service"]["spec"]["selector"].items() <= labels
    for kind, path in {
        "Deployment": "selector",
        "PodDisruptionBudget": "selector",
        "NetworkPolicy": "podSelector",
    }.items():
        assert kinds[kind]["spec"][path]["matchLabels"].items() <= labels
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in kinds["Service"]["spec"]["ports"]} == ports
    assert {port["port"] for port in kinds["NetworkPolicy"]["spec"]["ingress"][0]["ports"]} == ports
    assert kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "bert-serving"
    [models] = [volume for volume in pods["spec"]["volumes"] if volume["name"] == "models"]
    claim = models["persistentVolumeClaim"]["claimName"]
    assert claim == kinds["PersistentVolumeClaim"]["metadata"]["name"]
    listed = set(kinds["Kustomization"]["resources"])
    assert listed == {path.name for path in MANIFESTS} - {"kustomization.yaml"}


# The health check


@pytest.fixture
def health() -> Iterator[tuple[int, list[int]]]:
    """Serve GET .../metadata with the first of the yielded statuses, on the yielded port."""
    statuses = [200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/v1/models/default/metadata"
            self.send_response(statuses[0] if known else 400)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield server.server_port, statuses
    server.shutdown()
    server.server_close()
    thread.join()


def run_health_check(compose: Any, port: int) -> int:
    """Run the check as in the image: with bash, but no other program on the path."""
    kind, *command = compose["services"]["model-server"]["healthcheck"]["test"]
    assert kind == "CMD"
    assert command[:2] == ["bash", "-c"]
    script = command[2].replace("$$", "$").replace("8501", str(port))
    done = subprocess.run(["/bin/bash", "-c", script], env={"PATH": ""}, capture_output=True)
    return done.returncode


def test_health_check_succeeds_only_while_a_version_is_served(
    compose: Any, health: tuple[int, list[int]]
) -> None:
    port, statuses = health
    assert run_health_check(compose, port) == 0
    statuses[0] = 404
    assert run_health_check(compose, port) != 0


def test_health_check_fails_without_a_server(compose: Any) -> None:
    assert run_health_check(compose, 1) != 0
