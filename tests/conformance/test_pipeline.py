"""The compiled pipeline, executed: both platforms make of it what ``bert run`` makes."""

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
#: What the endpoint is asked to change, once.
DEPLOYED = ["upload", "endpoints", "deployModel"]


def records(examples: Path) -> dict[str, list[bytes]]:
    """Each split's records, sorted."""
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


def test_every_node_ran(platform: Platform) -> None:
    assert set(platform.first) == set(NODES) - {"Tuner"}
    assert {run.state for run in platform.first.values()} == {"ran"}


def test_a_model_is_pushed(platform: Platform) -> None:
    [pushed] = platform.first["Pusher"].outputs["pushed_model"]
    versions = [entry.name for entry in platform.models.iterdir() if entry.name.isdigit()]
    assert [pushed["metadata"]["pushed_version"]] == versions
    assert (platform.models / versions[0] / "saved_model.pb").is_file()


def test_reported_places_are_the_platforms_own(platform: Platform) -> None:
    """No path of this machine's mounts is in what the metadata store is told."""
    scheme = "gs://" if platform.name == "vertex" else "minio://"
    for run in platform.first.values():
        for [artifact] in run.outputs.values():
            assert artifact["uri"].startswith(scheme)
            assert "/mounts/" not in json.dumps(artifact)
            assert "/pod-" not in json.dumps(artifact)


@on_vertex
def test_the_pushed_model_is_deployed(platform: Platform) -> None:
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
def test_the_registered_container_serves_the_model(platform: Platform) -> None:
    """With its arguments, by ``bert serve``, which takes TensorFlow Serving's flags."""
    [model] = platform.endpoints.models["bert"]
    container = model["containerSpec"]
    stored = str(platform.backend.path(model["artifactUri"]))
    arguments = [word.replace("$(AIP_STORAGE_URI)", stored) for word in container["args"]]
    ports = {word for word in arguments if re.fullmatch(r"--(rest_api_)?port=\d+", word)}
    assert f"--rest_api_port={container['ports'][0]['containerPort']}" in ports
    own = [word for word in arguments if word not in ports]  # bert_serve takes free ones
    with bert_serve(*own, folder=platform.place.folder) as server:
        with urllib.request.urlopen(server.rest + container["healthRoute"]) as answer:
            assert answer.status == 200
        body = json.dumps({"instances": ["what a fine film", "dreadful"]}).encode()
        request = urllib.request.Request(server.rest + container["predictRoute"], body)
        with urllib.request.urlopen(request) as answer:
            predictions = json.load(answer)["predictions"]
    assert [set(prediction) for prediction in predictions] == [{"label", "score", "scores"}] * 2


def test_splits_are_those_of_the_local_run(platform: Platform, local: Workplace) -> None:
    examples = platform.backend.artifact(platform.first["ExampleGen"], "examples")
    assert records(examples) == records(local_artifact(local, "ExampleGen", "examples"))


def test_statistics_and_schema_are_those_of_the_local_run(
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


def test_decision_is_that_of_the_local_run(platform: Platform, local: Workplace) -> None:
    evaluation = platform.backend.artifact(platform.first["Evaluator"], "evaluation")
    mine, other = json.loads((evaluation / "decision.json").read_text()), local.decision()
    places = ("candidate_model", "baseline_model")
    assert {key: value for key, value in mine.items() if key not in places} == {
        key: value for key, value in other.items() if key not in places
    }
    assert mine["candidate_model"]["uri"] != other["candidate_model"]["uri"]


def test_driver_marks_the_examples(platform: Platform) -> None:
    """The driver ran, as Vertex's hook or in Kubeflow's task, and its findings reached metadata."""
    run = platform.first["ExampleGen"]
    [examples] = run.outputs["examples"]
    assert len(examples["metadata"]["input_fingerprint"]) == 64
    assert ("input_fingerprint" in run.parameters) == (platform.name == "vertex")


def test_without_a_push_there_is_no_baseline(platform: Platform) -> None:
    [baseline] = platform.first["Resolver"].outputs["model"]
    assert baseline["metadata"]["absent"] == 1


def test_a_worse_candidate_meets_the_pushed_model_and_loses(platform: Platform) -> None:
    """The second run: the baseline is what the first run pushed, and caching keeps its word."""
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
        assert reused == set()  # ExampleGen runs always, and its new output renews the rest


@on_vertex
def test_the_same_run_again_deploys_nothing(platform: Platform) -> None:
    """The Resolver looks again at what is deployed, so that the Pusher really runs."""
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
