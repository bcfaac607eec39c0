"""The compiled pipeline gives the same results on both platforms as ``bert run``."""

import json
import re
import urllib.request
from pathlib import Path

import pytest

from pipeline.nodes import NODES
from tests.conformance.conftest import Platform
from tests.e2e.conftest import Workplace
from tests.serving.bert_server import bert_serve

pytestmark = pytest.mark.integration
on_vertex = pytest.mark.parametrize("platform", ["vertex"], indirect=True, scope="session")
#: Changes of the first run on the endpoint's API.
DEPLOYED = ["upload", "endpoints", "deployModel"]


def records(examples: Path) -> dict[str, list[bytes]]:
    """Return the sorted records of each split."""
    import tensorflow as tf

    found = {}
    for split in sorted(examples.glob("Split-*")):
        files = [str(file) for file in sorted(split.iterdir())]
        data = tf.data.TFRecordDataset(files, compression_type="GZIP")
        found[split.name] = sorted(data.as_numpy_iterator())
    return found


def local_artifact(local: Workplace, node: str, key: str) -> Path:
    [folder] = (local.root / node / key).iterdir()
    return folder


def test_every_node_runs(platform: Platform) -> None:
    assert set(platform.first) == set(NODES) - {"Tuner"}
    assert {run.state for run in platform.first.values()} == {"ran"}


def test_run_pushes_a_model(platform: Platform) -> None:
    [pushed] = platform.first["Pusher"].outputs["pushed_model"]
    versions = [entry.name for entry in platform.models.iterdir() if entry.name.isdigit()]
    assert [pushed["metadata"]["pushed_version"]] == versions
    assert (platform.models / versions[0] / "saved_model.pb").is_file()


def test_reported_uris_are_the_platforms_own(platform: Platform) -> None:
    """The metadata store has no paths of mounts or pods."""
    scheme = "gs://" if platform.name == "vertex" else "minio://"
    for run in platform.first.values():
        for [artifact] in run.outputs.values():
            assert artifact["uri"].startswith(scheme)
            assert "/mounts/" not in json.dumps(artifact)
            assert "/pod-" not in json.dumps(artifact)


@on_vertex
def test_pushed_model_is_deployed(platform: Platform) -> None:
    [pushed] = platform.first["Pusher"].outputs["pushed_model"]
    api = platform.endpoints
    assert api.changes == DEPLOYED
    assert api.deployed() == {"bert@1": 100}
    [model], [endpoint] = api.models["bert"], api.endpoints.values()
    assert model["labels"]["version"] == pushed["metadata"]["pushed_version"]
    assert model["labels"]["commit"] == "0123abc"
    assert pushed["metadata"]["vertex_model"].endswith("/models/bert@1")
    assert pushed["metadata"]["vertex_endpoint"] == endpoint["name"]


@on_vertex
def test_registered_container_serves_the_model(platform: Platform) -> None:
    """Run it with its arguments by ``bert serve``, which accepts TensorFlow Serving's flags."""
    [model] = platform.endpoints.models["bert"]
    container = model["containerSpec"]
    stored = str(platform.backend.path(model["artifactUri"]))
    arguments = [word.replace("$(AIP_STORAGE_URI)", stored) for word in container["args"]]
    ports = {word for word in arguments if re.fullmatch(r"--(rest_api_)?port=\d+", word)}
    assert f"--rest_api_port={container['ports'][0]['containerPort']}" in ports
    own = [word for word in arguments if word not in ports]  # bert_serve uses free ports
    with bert_serve(*own, folder=platform.place.folder) as server:
        with urllib.request.urlopen(server.rest + container["healthRoute"]) as answer:
            assert answer.status == 200
        body = json.dumps({"instances": ["what a fine film", "dreadful"]}).encode()
        request = urllib.request.Request(server.rest + container["predictRoute"], body)
        with urllib.request.urlopen(request) as answer:
            predictions = json.load(answer)["predictions"]
    assert [set(prediction) for prediction in predictions] == [{"label", "score", "scores"}] * 2


def test_splits_equal_those_of_the_local_run(platform: Platform, local: Workplace) -> None:
    examples = platform.backend.artifact(platform.first["ExampleGen"], "examples")
    assert records(examples) == records(local_artifact(local, "ExampleGen", "examples"))


def test_statistics_and_schema_equal_those_of_the_local_run(
    platform: Platform, local: Workplace
) -> None:
    for node, key, name in (
        ("StatisticsGen", "statistics", "Split-*/FeatureStats.pb"),
        ("SchemaGen", "schema", "schema.pbtxt"),
    ):
        mine = platform.backend.artifact(platform.first[node], key)
        other = local_artifact(local, node, key)
        assert [
            (file.relative_to(mine), file.read_bytes()) for file in sorted(mine.glob(name))
        ] == [(file.relative_to(other), file.read_bytes()) for file in sorted(other.glob(name))]


def test_decision_equals_that_of_the_local_run(platform: Platform, local: Workplace) -> None:
    evaluation = platform.backend.artifact(platform.first["Evaluator"], "evaluation")
    mine, other = json.loads((evaluation / "decision.json").read_text()), local.decision()
    places = ("candidate_model", "baseline_model")
    assert {key: value for key, value in mine.items() if key not in places} == {
        key: value for key, value in other.items() if key not in places
    }
    assert mine["candidate_model"]["uri"] != other["candidate_model"]["uri"]


def test_properties_of_the_driver_reach_the_metadata(platform: Platform) -> None:
    """The driver runs as Vertex's hook or in Kubeflow's task."""
    run = platform.first["ExampleGen"]
    [examples] = run.outputs["examples"]
    assert len(examples["metadata"]["input_fingerprint"]) == 64
    assert ("input_fingerprint" in run.parameters) == (platform.name == "vertex")


def test_first_run_has_no_baseline_on_the_platform(platform: Platform) -> None:
    [baseline] = platform.first["Resolver"].outputs["model"]
    assert baseline["metadata"]["absent"] == 1


def test_worse_candidate_is_compared_with_the_pushed_model_and_rejected(platform: Platform) -> None:
    """In a second run, the baseline is the first run's model, and only Vertex can cache nodes."""
    text = platform.compile(trainer__epochs="0", trainer__seed="7")
    second = platform.backend.run(text)
    [baseline] = second["Resolver"].outputs["model"]
    [pushed] = platform.first["Pusher"].outputs["pushed_model"]
    assert baseline["metadata"]["pushed_version"] == pushed["metadata"]["pushed_version"]
    evaluation = platform.backend.artifact(second["Evaluator"], "evaluation")
    decision = json.loads((evaluation / "decision.json").read_text())
    assert decision["baseline"] is not None
    assert second["Pusher"].outputs["pushed_model"][0]["metadata"]["pushed"] == 0
    if platform.endpoints:
        assert platform.endpoints.changes == DEPLOYED
    reused = {name for name, run in second.items() if run.state == "cached"}
    if platform.name == "vertex":
        data = {"ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "Transform"}
        assert reused == data
    else:
        assert reused == set()  # ExampleGen always runs, and its new output runs the others


@on_vertex
def test_repeated_run_deploys_nothing(platform: Platform) -> None:
    """The Resolver is never cached, so the Pusher really runs."""
    again = platform.backend.run(platform.text)
    assert {name for name, run in again.items() if run.state == "ran"} == {
        "Resolver",
        "Evaluator",
        "Pusher",
    }
    [pushed] = again["Pusher"].outputs["pushed_model"]
    assert pushed["metadata"]["pushed"] == 1
    assert pushed["metadata"]["vertex_model"].endswith("/models/bert@1")
    assert platform.endpoints.changes == DEPLOYED
