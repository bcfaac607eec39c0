"""One pipeline on five runners: it has the same nodes, edges and Beam options on each."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tfx.orchestration.local import runner_utils

from pipeline.config import Config, load
from pipeline.graph import build_components
from pipeline.nodes import node_names
from runners.airflow import platform as airflow
from runners.kubeflow import platform as kubeflow
from runners.local.worker import WAITING_NODES
from runners.node.compilation import compile_pipeline
from runners.remote import pipeline_spec
from runners.vertex import platform as vertex

REPOSITORY = Path(__file__).parents[2]
AIRFLOW_PYTHON = REPOSITORY / ".venv-airflow" / "bin" / "python"
PLATFORM = {"kubeflow": kubeflow, "vertex": vertex}

#: Prints the tasks of a DAG file, as Airflow itself reads it.
LIST_TASKS = """
import json, runpy, sys
dag = runpy.run_path(sys.argv[1])["dag"]
print(json.dumps({task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks}))
"""

#: Every node enabled, and roots that the compilers for both platforms accept.
SETTINGS = (
    "data.path=gs://bucket/reviews.csv",
    "image.name=registry.example/bert:1",
    "tuner.enabled=true",
)
ROOTS = {
    "kubeflow": (
        "pipeline.root=gs://bucket/root",
        "pusher.base_directory=/models",
        'kubeflow.volumes={models = "/models"}',
    ),
    "vertex": ("pipeline.root=gs://bucket/root", "pusher.base_directory=gs://bucket/models"),
}
BEAM = {
    "direct": (),
    "flink": ("--flink_master=flink.example:8081", "--parallelism=4"),
    "spark": ("--job_endpoint=spark.example:8099",),
    "dataflow": ("--project=p", "--region=europe-west1", "--temp_location=gs://bucket/tmp"),
}


def _settings(folder: Path) -> list[str]:
    return [*SETTINGS, f"pipeline.root={folder}/root", f"pusher.base_directory={folder}/models"]


def _config(folder: Path, *assignments: str) -> Config:
    return load(None, [*_settings(folder), *assignments], {})


def _cloud_spec(runner: str, folder: Path, *assignments: str) -> dict[str, Any]:
    config = _config(folder, *ROOTS[runner], *assignments)
    text = PLATFORM[runner].compile_pipeline(config)
    if runner == "vertex":
        return json.loads(text)["pipelineSpec"]
    import yaml

    return next(yaml.safe_load_all(text))


def _local_edges(config: Config) -> dict[str, list[str]]:
    nodes = [node.pipeline_node for node in compile_pipeline(config, "run").nodes]
    return {node.node_info.id: sorted(node.upstream_nodes) for node in nodes}


def _spec_edges(spec: Mapping[str, Any]) -> dict[str, list[str]]:
    found = spec["root"]["dag"]["tasks"]
    return {name: sorted(task.get("dependentTasks", [])) for name, task in found.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runners")


@pytest.fixture(scope="module")
def local(folder: Path) -> dict[str, list[str]]:
    """Return node -> upstream nodes on the local runner."""
    return _local_edges(_config(folder))


def test_local_runner_has_every_node(local: Mapping[str, list[str]], folder: Path) -> None:
    assert sorted(local) == sorted(node_names(_config(folder)))
    assert sum(map(len, local.values())) > len(local), "the graph must be more than a chain"


def test_notebook_has_the_same_nodes_and_edges(
    local: Mapping[str, list[str]], folder: Path
) -> None:
    """A node there depends on the producers of its inputs and on its explicit upstream nodes."""
    found = {}
    for component in build_components(_config(folder)):
        ids = [channel.get_data_dependent_node_ids() for channel in component.inputs.values()]
        explicit = {node.id for node in component.upstream_nodes}
        found[component.id] = sorted(explicit.union(*ids))
    assert found == local


@pytest.mark.parametrize("runner", sorted(PLATFORM))
def test_kubeflow_and_vertex_have_the_same_nodes_and_edges(
    runner: str, local: Mapping[str, list[str]], folder: Path
) -> None:
    assert _spec_edges(_cloud_spec(runner, folder)) == local


@pytest.mark.skipif(not AIRFLOW_PYTHON.exists(), reason="no Airflow here; make env-airflow")
@pytest.mark.slow
def test_airflow_has_the_same_nodes_and_edges(local: Mapping[str, list[str]], folder: Path) -> None:
    file = folder / "dag.py"
    file.write_text(airflow.compile_pipeline(_config(folder)), "utf-8")
    done = subprocess.run(
        [AIRFLOW_PYTHON, "-c", LIST_TASKS, file],
        env={"AIRFLOW_HOME": str(folder / "airflow")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == local


def test_cached_pipeline_becomes_a_dag_without_tensorflow(
    local: Mapping[str, list[str]], folder: Path
) -> None:
    """The fixture ``local`` has compiled the same pipeline, so it is in the cache."""
    script = (
        "import json, sys; from pipeline.config import load;"
        "from runners.airflow import platform as airflow;"
        "edges = airflow.edges(load(None, json.loads(sys.argv[1]), {}));"
        "print(json.dumps(edges), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(_settings(folder))],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    edges, tensorflow = done.stdout.rsplit(maxsplit=1)
    assert json.loads(edges) == local
    assert tensorflow == "False"


def _assignments(runner: str) -> list[str]:
    return [f"beam.runner={runner}", f"beam.args={json.dumps(BEAM[runner])}"]


def _has(arguments: list[str], expected: list[str]) -> bool:
    return [argument for argument in arguments if argument in expected] == expected


@pytest.mark.parametrize("beam", sorted(BEAM))
def test_beam_options_reach_every_runner(beam: str, folder: Path) -> None:
    config = _config(folder, *_assignments(beam))
    expected = config.beam_arguments()
    assert expected[-len(BEAM[beam]) :] == list(BEAM[beam]) or not BEAM[beam]
    assert len([argument for argument in expected if argument.startswith("--runner=")]) == 1

    deployment = runner_utils.extract_local_deployment_config(compile_pipeline(config, "run"))
    executor = runner_utils.extract_executor_spec(deployment, "Transform")
    assert _has(list(executor.beam_pipeline_args), expected)

    again = load(None, airflow.assignments(config), {})
    assert again.beam_arguments() == expected, "a task of Airflow compiles with them"

    for runner in PLATFORM:
        spec = _cloud_spec(runner, folder, *_assignments(beam))
        for node in ("StatisticsGen", "Transform", "Evaluator"):
            label = pipeline_spec.tasks(spec)[node]["componentRef"]["name"]
            executor = spec["components"][label]["executorLabel"]
            container = spec["deploymentSpec"]["executors"][executor]["container"]
            assert _has(container["args"], expected), (runner, node)


def test_only_waiting_nodes_can_run_at_the_same_time_as_others(
    local: Mapping[str, list[str]],
) -> None:
    """Otherwise the local runner, which runs only these concurrently, could run more at once."""

    def before(node: str) -> set[str]:
        return set(local[node]).union(*(before(name) for name in local[node]))

    pairs = {
        frozenset((one, other))
        for one in local
        for other in local
        if one != other and one not in before(other) and other not in before(one)
    }
    assert all(pair & WAITING_NODES for pair in pairs), pairs
    assert pairs
