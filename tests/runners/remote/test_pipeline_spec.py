"""Comparison of compiled specs with golden files, for both stacks, which differ only in versions.

After an intended change, rewrite the files with ``BERT_UPDATE_GOLDEN=1 python -m pytest`` and this
file's path, and read the difference before you commit it.
"""

import copy
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import Config, load
from pipeline.nodes import NODES
from runners.kubeflow import platform as kubeflow
from runners.remote import pipeline_spec
from runners.vertex import platform as vertex

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
IMAGE = "registry.example.com/bert:0123abc"


def kubeflow_config(*assignments: str) -> Config:
    fixed = [
        f"image.name={IMAGE}",
        "tuner.enabled=true",
        "pipeline.root=minio://mlpipeline/bert",
        "pusher.base_directory=/models/bert",
        'kubeflow.volumes={claim = "/models"}',
        'kubeflow.secrets=[{secret = "store", key = "token", variable = "STORE_TOKEN"}]',
        'kubeflow.node_selector={pool = "batch"}',
        'kubeflow.training_node_selector={gpu = "t4"}',
        'kubeflow.tolerations=[{key = "gpu", effect = "NoSchedule"}]',
        'kubeflow.image_pull_secrets=["registry"]',
        "resources.accelerator=nvidia.com/gpu",
        f'image.nodes={{Trainer = "{IMAGE}-gpu"}}',
    ]
    return load(assignments=[*fixed, *assignments], environ={})


def vertex_config(*assignments: str) -> Config:
    fixed = [
        f"image.name={IMAGE}",
        "tuner.enabled=true",
        "pipeline.root=gs://bucket/bert",
        "pusher.base_directory=gs://bucket/models",
        "resources.accelerator=NVIDIA_TESLA_T4",
        "resources.nodes={Evaluator = {memory_gb = 16}}",
        'vertex.labels={team = "search"}',
    ]
    return load(assignments=[*fixed, *assignments], environ={})


@pytest.fixture(scope="module")
def kubeflow_documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(kubeflow.compile_pipeline(kubeflow_config())))


@pytest.fixture(scope="module")
def vertex_job() -> dict[str, Any]:
    return json.loads(vertex.compile_pipeline(vertex_config()))


def masked(compiled: Any) -> str:
    """Without what changes with each edit of the code or with TFX's version.

    Nor the workers' own settings, which ``tests/golden/pipeline_*.json`` hold.
    """
    compiled = copy.deepcopy(compiled)
    spec = compiled[0] if isinstance(compiled, list) else compiled["pipelineSpec"]
    for task in pipeline_spec.tasks(spec).values():
        for key in {"custom_config", "settings"} & task["inputs"]["parameters"].keys():
            task["inputs"]["parameters"][key]["runtimeValue"]["constant"] = "(settings)"
    text = json.dumps(compiled, indent=1, sort_keys=True)
    text = re.sub(r"\b[0-9a-f]{64}\b", "(digest)", text)
    text = re.sub(r'"sdkVersion": "tfx-[^"]+"', '"sdkVersion": "(version)"', text)
    text = re.sub(r'"tfx_(py_)?version": "[^"]+"', r'"tfx_\1version": "(version)"', text)
    return text + "\n"


def check(name: str, compiled: Any) -> None:
    file = GOLDEN / name
    text = masked(compiled)
    if os.environ.get("BERT_UPDATE_GOLDEN"):
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8")


def test_kubeflow_spec_equals_the_golden_file(kubeflow_documents: list[dict[str, Any]]) -> None:
    check("kubeflow.json", kubeflow_documents)


def test_vertex_spec_equals_the_golden_file(vertex_job: dict[str, Any]) -> None:
    check("vertex.json", vertex_job)


def test_every_node_runs_our_entrypoint_in_the_configured_image(vertex_job: dict[str, Any]) -> None:
    spec = vertex_job["pipelineSpec"]
    assert set(pipeline_spec.tasks(spec)) == set(NODES)
    for node in NODES:
        container = pipeline_spec.container(spec, node)
        assert container["image"] == IMAGE
        assert container["command"] == ["python", "-m", "runners.remote.container_entrypoint"]


def test_only_training_nodes_get_the_accelerator(vertex_job: dict[str, Any]) -> None:
    spec = vertex_job["pipelineSpec"]
    resources = {node: pipeline_spec.container(spec, node)["resources"] for node in NODES}
    with_accelerator = {node for node, found in resources.items() if "accelerator" in found}
    assert with_accelerator == {"Tuner", "Trainer"}
    assert resources["Trainer"]["accelerator"] == {"type": "NVIDIA_TESLA_T4", "count": "1"}
    assert resources["Evaluator"] == {"cpuLimit": 2.0, "memoryLimit": 16.0}
    assert resources["ExampleGen"] == {"cpuLimit": 2.0, "memoryLimit": 8.0}


def test_image_can_be_set_for_one_node(kubeflow_documents: list[dict[str, Any]]) -> None:
    spec = kubeflow_documents[0]
    assert pipeline_spec.container(spec, "Trainer")["image"] == f"{IMAGE}-gpu"
    assert pipeline_spec.container(spec, "Evaluator")["image"] == IMAGE


def test_kubeflow_settings_reach_every_executor(kubeflow_documents: list[dict[str, Any]]) -> None:
    spec, platform = kubeflow_documents
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors.keys() == spec["deploymentSpec"]["executors"].keys()
    for label, settings in executors.items():
        assert settings["pvcMount"] == [{"constant": "claim", "mountPath": "/models"}]
        assert settings["secretAsEnv"][0]["keyToEnv"] == [
            {"secretKey": "token", "envVar": "STORE_TOKEN"}
        ]
        trains = label in ("Trainer_executor", "Tuner_executor")
        gpu = {"gpu": "t4"} if trains else {}
        assert settings["nodeSelector"]["labels"] == {"pool": "batch", **gpu}


def test_kubeflow_without_settings_has_no_platform_spec() -> None:
    config = kubeflow_config(
        "kubeflow.volumes={}",
        "kubeflow.secrets=[]",
        "kubeflow.node_selector={}",
        "kubeflow.training_node_selector={}",
        "kubeflow.tolerations=[]",
        "kubeflow.image_pull_secrets=[]",
    )
    assert kubeflow.platform_settings(config) is None


def test_nodes_with_changing_inputs_are_not_cached(
    kubeflow_documents: list[dict[str, Any]], vertex_job: dict[str, Any]
) -> None:
    for spec, always in (
        (kubeflow_documents[0], {"ExampleGen", "Resolver"}),
        (
            vertex_job["pipelineSpec"],
            {"Resolver"},
        ),  # ExampleGen's cache key has the hook's fingerprint
    ):
        tasks = pipeline_spec.tasks(spec)
        assert {name for name, task in tasks.items() if "cachingOptions" not in task} == always


def test_beam_arguments_reach_every_container() -> None:
    config = vertex_config(
        "beam.runner=DataflowRunner", 'beam.args=["--project=shop", "--region=europe-west1"]'
    )
    spec = json.loads(vertex.compile_pipeline(config))["pipelineSpec"]
    for node in ("ExampleGen", "StatisticsGen", "Transform", "Evaluator"):
        arguments = pipeline_spec.container(spec, node)["args"]
        given = ["--runner=DataflowRunner", "--project=shop", "--region=europe-west1"]
        assert [argument for argument in arguments if argument in given] == given


def test_relative_paths_are_mapped_to_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = vertex.compile_pipeline(vertex_config("data.path=data/reviews.csv"))
    task = pipeline_spec.tasks(json.loads(text)["pipelineSpec"])["ExampleGen"]
    paths = task["inputs"]["parameters"]["paths"]["runtimeValue"]["constant"]
    assert paths == '["/opt/bert/data/reviews.csv"]'
    assert str(tmp_path) not in text


def test_checkpoints_are_kept_on_a_volume(kubeflow_documents: list[dict[str, Any]]) -> None:
    """A restarted Trainer reads them from the volume; it cannot access the object store."""
    task = pipeline_spec.tasks(kubeflow_documents[0])["Trainer"]
    settings = json.loads(task["inputs"]["parameters"]["custom_config"]["runtimeValue"]["constant"])
    directory = json.loads(settings["training"])["checkpoint_directory"]
    assert directory == "/models/checkpoints/bert"


@pytest.mark.parametrize(
    ("settings", "spans"),
    [
        ([], ""),
        (["feedback.spans=/models/feedback"], "/models/feedback"),
        (["feedback.spans=gs://bucket/feedback"], "gs://bucket/feedback"),
    ],
)
def test_feedback_and_parsed_files_are_where_pods_can_access_them(
    settings: list[str], spans: str
) -> None:
    """They are not under the root, which only Kubeflow's launcher can access."""
    spec = yaml.safe_load(kubeflow.compile_pipeline(kubeflow_config(*settings)).split("\n---")[0])
    parameters = pipeline_spec.tasks(spec)["ExampleGen"]["inputs"]["parameters"]
    assert parameters["spans_directory"]["runtimeValue"]["constant"] == spans
    cache = parameters["cache_directory"]["runtimeValue"]["constant"]
    assert cache == "/models/ExampleGen-cache/bert"


def test_runtime_parameters_keep_their_defaults() -> None:
    """TFX's compiler drops them, and Kubeflow then refuses a run without them."""
    from tfx.dsl.components.common.importer import Importer
    from tfx.orchestration import pipeline as tfx_pipeline
    from tfx.orchestration.data_types import RuntimeParameter
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as dag_runner
    from tfx.types.standard_artifacts import Schema

    uri = RuntimeParameter("schema-uri", str, "gs://bucket/schema")
    node = Importer(source_uri=uri, artifact_type=Schema).with_id("Schema")
    pipeline = tfx_pipeline.Pipeline("one", "gs://bucket/root", components=[node])
    settings = dag_runner.KubeflowV2DagRunnerConfig(use_pipeline_spec_2_1=True)
    job = dag_runner.KubeflowV2DagRunner(settings).run(pipeline, write_out=False)
    spec = job["pipelineSpec"]
    declared = spec["root"]["inputDefinitions"]["parameters"]["schema-uri"]
    assert "defaultValue" not in declared
    pipeline_spec.set_parameter_defaults(spec, pipeline.components)
    assert declared["defaultValue"] == "gs://bucket/schema"


def test_node_names_are_valid_in_kubernetes() -> None:
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name) for name in NODES)
