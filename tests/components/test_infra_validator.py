"""A model with different answers is refused, and so is one that cannot be checked."""

import contextlib
import copy
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import psutil
import pytest
from tfx import types
from tfx.types import standard_artifacts
from tfx.utils import kube_utils

from components import infra_validator
from components.infra_validation import child_process, embedded_process, model_servers
from components.infra_validation.checks import Limits, check_limits, check_reply
from components.infra_validation.server_replay import replay, wait_until_available
from components.infra_validator import (
    InfraValidatorExecutor,
    InfraValidatorSettings,
    make_infra_validator,
    read_expected_answers,
    summarise,
    validate,
)
from modules.contract import features
from modules.contract.errors import ModelError, UserError
from tests.components import classifier_server, docker_engine, exports, kubernetes_api

TOLERANCE = 1e-4
WAYS = ("one_by_one", "one_batch", "examples", "test_texts", "test_examples")


def settings(**values: Any) -> InfraValidatorSettings:
    base = {
        "server": "process",
        "image": "tensorflow/serving:2.19.1",
        "docker_host": "",
        "service_account": "",
        "texts": 16,
        "tolerance": TOLERANCE,
        "limits": Limits(),
        "timeout_seconds": 120.0,
    }
    return InfraValidatorSettings(**{**base, **values})


def answers_file(export: str) -> Path:
    return Path(export, features.EXTRA_ASSETS, features.EXPECTED_ANSWERS_FILE)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> types.Artifact:
    return exports.make_model(tmp_path_factory.mktemp("model"), 7)


@pytest.fixture(scope="module")
def export(model: types.Artifact) -> str:
    return os.path.join(model.uri, "Format-Serving")


@pytest.fixture(scope="module")
def expected(export: str) -> list[dict[str, Any]]:
    return read_expected_answers(export)


@pytest.fixture
def reply(expected: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the result of ``replay`` for a valid export."""
    answers = {
        "scores": [record["scores"] for record in expected],
        "labels": [record["label"] for record in expected],
    }
    both = {protocol: {way: answers for way in WAYS} for protocol in ("rest", "grpc")}
    signatures = ["serving_default", "serving_examples"]
    none: dict[str, Any] = {"rest": {}, "grpc": {}}
    # Copied through JSON, so that a test can change the answer of one way only.
    return json.loads(json.dumps({"signatures": signatures, "answers": both, "errors": none}))


@pytest.mark.slow  # starts TensorFlow in fresh processes
class TestReplay:
    @pytest.fixture(scope="class")
    def server(self, export: str) -> Iterator[model_servers.RunningServer]:
        deadline = time.monotonic() + 120
        with model_servers.embedded_server(export, deadline) as server:
            wait_until_available(server, deadline)
            yield server

    def test_texts_are_sent_in_every_way_over_both_protocols(
        self, server: model_servers.RunningServer, expected: list[dict[str, Any]]
    ) -> None:
        examples = [
            exports.make_example({"text": text, "label": "positive", "domain": "films"})
            for text in exports.TEXTS
        ]
        texts = [record["text"] for record in expected]
        said = replay(server, texts, examples, time.monotonic() + 120)
        assert said["errors"] == {"rest": {}, "grpc": {}}
        assert {p: sorted(a) for p, a in said["answers"].items()} == {
            "rest": sorted(WAYS),
            "grpc": sorted(WAYS),
        }
        assert check_reply(said, expected, TOLERANCE) == []
        assert 0 < said["p50_ms"] <= said["p99_ms"]
        assert 100 < said["peak_memory_mb"] < 4000

    def test_failing_signature_is_reported(self, server: model_servers.RunningServer) -> None:
        no_text = exports.make_example({"label": "positive"})
        said = replay(server, ["good"], [no_text], time.monotonic() + 120)
        assert set(said["errors"]["rest"]) == set(said["errors"]["grpc"]) == {"test_examples"}


@pytest.mark.slow  # starts TensorFlow in fresh processes
def test_server_ends_with_its_parent_process(tmp_path: Path, export: str) -> None:
    code = """
import os, sys, time
from components import infra_validator
from components.infra_validation import child_process, model_servers
with model_servers.embedded_server(sys.argv[1], time.monotonic() + 120):
    print(os.getpid(), flush=True)
    time.sleep(600)
"""
    command = [sys.executable, "-c", code, export]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=child_process.environment()
    ) as process:
        assert process.stdout
        assert process.stdout.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.kill()
        process.wait()
    for child in children:
        assert wait_until_gone(child.pid), f"process {child.pid} is left"


class TestChecks:
    def test_valid_model_passes(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        assert check_reply(reply, expected, TOLERANCE) == []

    def test_different_scores_are_reported_per_text(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        other = copy.deepcopy(expected)
        other[1]["scores"] = [s + 0.001 for s in other[1]["scores"]]
        failures = check_reply(reply, other, TOLERANCE)
        assert len(failures) == 6  # one by one, in a batch and as examples, over each protocol
        assert {failure.text for failure in failures} == {other[1]["text"]}
        assert "differs from the trainer's by 1.00e-03" in failures[0].message

    def test_failure_of_one_protocol_is_enough_to_refuse(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        reply["answers"]["grpc"]["one_batch"]["scores"][0] = [0.5, 0.5]
        [failure] = check_reply(reply, expected, TOLERANCE)
        assert "over gRPC" in failure.message

    def test_difference_within_the_tolerance_is_accepted(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        other = [{**r, "scores": [s + 0.001 for s in r["scores"]]} for r in expected]
        assert check_reply(reply, other, 0.002) == []

    def test_swapped_labels_are_refused(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        swapped = {"positive": "negative", "negative": "positive"}
        other = [{**record, "label": swapped[record["label"]]} for record in expected]
        failures = check_reply(reply, other, TOLERANCE)
        # The last text is a tie, where either label is right.
        assert len(failures) == 6 * (len(expected) - 1)
        assert "but the trainer answered" in failures[0].message

    def test_nan_is_refused_and_serialised_as_null(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        reply["answers"]["rest"]["one_batch"]["scores"][0] = [float("nan")] * 2
        [failure] = check_reply(reply, expected, TOLERANCE)
        assert failure.to_dict()["received"]["scores"] == [None, None]
        json.dumps(failure.to_dict(), allow_nan=False)

    def test_wrong_number_of_scores_or_answers_is_refused(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        reply["answers"]["rest"]["one_batch"]["scores"][0] = [1.0]
        reply["answers"]["rest"]["examples"] = {"scores": [], "labels": []}
        messages = [failure.message for failure in check_reply(reply, expected, TOLERANCE)]
        assert "1 scores but the trainer gave 2" in messages[0]
        assert "0 answers for 5 texts" in messages[1]

    def test_missing_signature_is_named(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        reply["signatures"] = ["serving_default"]
        [failure] = check_reply(reply, expected, TOLERANCE)
        assert "no signature 'serving_examples'" in failure.message

    def test_request_that_fails_is_refused(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        reply["errors"]["rest"] = {"examples": "INVALID_ARGUMENT: no text"}
        [failure] = check_reply(reply, expected, TOLERANCE)
        assert failure.message == "serving_examples over REST fails: INVALID_ARGUMENT: no text"

    def test_examples_and_texts_with_different_answers_are_refused(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        reply["answers"]["grpc"]["test_examples"]["scores"][2] = [0.5, 0.5]
        [failure] = check_reply(reply, expected, TOLERANCE)
        assert "disagree on 1 of 5 test examples over gRPC" in failure.message

    def test_bfloat16_may_round_scores_but_not_change_labels(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        rounded = copy.deepcopy(reply["answers"]["grpc"]["one_batch"])
        rounded["scores"] = [[s + 9e-4, t - 9e-4] for s, t in rounded["scores"]]
        reply["answers"]["grpc"]["bfloat16"] = rounded
        assert check_reply(reply, expected, TOLERANCE) == []
        rounded["scores"] = [[s + 2e-3, t - 2e-3] for s, t in rounded["scores"]]
        [failure] = check_reply(reply, expected, TOLERANCE)
        assert "the median difference" in failure.message
        rounded["scores"] = [record["scores"] for record in expected]
        rounded["labels"] = ["negative"] * len(expected)
        renamed = [f for f in check_reply(reply, expected, TOLERANCE) if "answers" in f.message]
        assert {failure.text for failure in renamed} == {"good film", "good good food"}

    @pytest.mark.parametrize(
        ("limits", "words"),
        [
            (Limits(max_load_seconds=1e-9), "the load time is 2.0 s"),
            (Limits(max_memory_mb=1e-9), "the peak memory is 300.0 MiB"),
            (Limits(max_latency_ms=1e-9), "99th percentile of latency is 9.0 ms"),
            (Limits(max_size_mb=1e-9), "the export's size is 90.0 MiB"),
        ],
    )
    def test_value_over_its_limit_is_refused(self, limits: Limits, words: str) -> None:
        measured = {
            "load_seconds": 2.0, "peak_memory_mb": 300.0, "p99_ms": 9.0, "model_size_mb": 90.0
        }  # fmt: skip
        [failure] = check_limits(measured, limits)
        assert words in failure.message
        assert check_limits(measured, Limits(1e6, 1e6, 1e6, 1e6)) == []
        [failure] = check_limits({}, limits)
        assert "unknown" in failure.message


class TestExpectedAnswers:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "has no trainer's answers"),
            ("", "is empty"),
            ("\n\n", "is empty"),
            ("{torn\n", "cannot be read"),
            ('{"text": "good"}\n', "cannot be read"),
            ('{"text": "good", "label": "positive", "scores": []}\n', "cannot be read"),
        ],
    )
    def test_export_without_valid_expected_answers_is_refused(
        self, tmp_path: Path, content: str | None, message: str
    ) -> None:
        path = answers_file(str(tmp_path))
        path.parent.mkdir()
        if content is not None:
            path.write_text(content)
        report = validate(str(tmp_path), [], settings())
        assert report["blessed"] is False
        assert message in report["failures"][0]["message"]


def stand_ins() -> list[psutil.Process]:
    """Return the prepared processes, once each shows its command line."""
    children = psutil.Process().children()
    for child in children:  # the kernel shows none until exec has finished
        while child.is_running() and not child.cmdline():
            time.sleep(0.01)
    return [child for child in children if "stand_in" in child.cmdline()]


class TestEmbeddedServer:
    """The life of the server's process, with small scripts in place of the server."""

    def replace(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
        script = tmp_path / "stand_in.py"
        script.write_text("import json, os, signal, subprocess, sys, time\n" + code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(embedded_process, "_EMBEDDED", "stand_in")

    def start(self, tmp_path: Path, seconds: float = 60) -> model_servers.RunningServer:
        deadline = time.monotonic() + seconds
        with model_servers.embedded_server(str(tmp_path), deadline) as server:
            return server

    def test_crash_is_reported_with_the_end_of_the_output(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.replace(tmp_path, monkeypatch, "sys.exit('no such port')")
        with pytest.raises(ModelError, match="exited with status 1: no such port"):
            self.start(tmp_path)

    def test_signal_is_named_in_the_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.replace(tmp_path, monkeypatch, "os.kill(os.getpid(), signal.SIGSEGV)")
        with pytest.raises(ModelError, match="killed by SIGSEGV"):
            self.start(tmp_path)

    def test_server_serves_the_export_and_leaves_no_process(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pids = tmp_path / "pids"
        code = f"""
while not os.path.exists(os.path.join(sys.argv[1], "1")):
    time.sleep(0.01)
assert os.path.samefile(os.path.join(sys.argv[1], "1"), {str(tmp_path)!r})
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
json.dump({{"rest": "http://a", "grpc": "grpc://b"}}, open(sys.argv[2] + ".part", "w"))
os.rename(sys.argv[2] + ".part", sys.argv[2])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""
        monkeypatch.setattr(embedded_process, "_TERMINATION_SECONDS", 0.1)
        self.replace(tmp_path, monkeypatch, code)
        server = self.start(tmp_path)
        assert (server.rest, server.grpc) == ("http://a", "grpc://b")
        for pid in map(int, pids.read_text().split()):
            assert wait_until_gone(pid), f"process {pid} is left"

    def test_prepared_process_is_used_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.replace(tmp_path, monkeypatch, "time.sleep(600)")
        embedded_process.prepare()
        embedded_process.prepare()
        processes = [embedded_process.take(), embedded_process.take()]
        try:
            pids = {child.pid for child in stand_ins()}
            assert {process.pid for process in processes} == pids
            assert len(pids) == 2
        finally:
            for process in processes:
                process.end()

    def test_dead_prepared_process_is_replaced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.replace(tmp_path, monkeypatch, "time.sleep(600)")
        embedded_process.prepare()
        [dead] = stand_ins()
        dead.kill()
        assert wait_until_gone(dead.pid)
        process = embedded_process.take()
        try:
            assert process.alive
            assert process.pid != dead.pid
        finally:
            process.end()

    def test_unused_prepared_process_ends_with_its_parent(self, tmp_path: Path) -> None:
        code = """
import psutil
from components.infra_validation import embedded_process
embedded_process.prepare()
print(*[child.pid for child in psutil.Process().children()])
"""
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=child_process.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert wait_until_gone(int(done.stdout)), "the server is left"

    def test_server_that_never_listens_is_stopped(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.replace(tmp_path, monkeypatch, "time.sleep(600)")
        with pytest.raises(ModelError, match="did not listen in time"):
            self.start(tmp_path, seconds=0.5)


@pytest.mark.slow  # starts TensorFlow in fresh processes
class TestStockServers:
    """TFX's own runners and the real clients, with stand-ins for the engine and the cluster."""

    def test_docker(self, export: str) -> None:
        with docker_engine.engine() as engine:
            report = validate(export, [], settings(server="docker", docker_host=engine.url))
            assert report["failures"] == []
            assert (report["blessed"], report["peak_memory_mb"]) == (True, 512)
            [options] = engine.created
            assert options["Image"] == "tensorflow/serving:2.19.1"
            assert engine.containers == {}, "the container is left"

    def test_docker_refuses_a_model_with_different_answers(self, tmp_path: Path) -> None:
        other = exports.write_export(tmp_path / "other", sharpness=-2.0)
        sound = exports.write_export(tmp_path / "sound")
        answers_file(other).write_text(answers_file(sound).read_text())
        with docker_engine.engine() as engine:
            report = validate(other, [], settings(server="docker", docker_host=engine.url))
        assert report["blessed"] is False
        assert {failure["check"] for failure in report["failures"]} == {"answer"}

    def test_kubernetes(self, export: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        copy = tmp_path / model_servers.MODEL_NAME / "1"
        shutil.copytree(export, copy)
        with kubernetes_api.api() as api:
            inside_a_pod(monkeypatch, api.url)
            report = validate(str(copy), [], settings(server="kubernetes"))
            assert report["failures"] == []
            assert report["blessed"] is True
            [pod] = api.created
            assert pod["spec"]["serviceAccountName"] == "pipeline-runner"
            assert pod["spec"]["containers"][0]["image"] == "tensorflow/serving:2.19.1"
            assert set(api.pods) == {kubernetes_api.PIPELINE_POD}, "the pod is left"


def inside_a_pod(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Make TFX assume that it runs in a pod of Kubeflow Pipelines whose API is at ``url``."""
    monkeypatch.setenv(kube_utils.KFP_POD_NAME, kubernetes_api.PIPELINE_POD)
    monkeypatch.setenv(kube_utils.KFP_NAMESPACE, kubernetes_api.NAMESPACE)
    monkeypatch.setattr(kube_utils._factory, "_config_loaded", True)
    monkeypatch.setattr(kube_utils._factory, "_inside_cluster", True)
    configuration = kubernetes.client.Configuration(host=url)
    monkeypatch.setattr(kubernetes.client.Configuration, "_default", configuration)


def test_missing_docker_engine_is_a_user_error(export: str) -> None:
    nowhere = settings(server="docker", docker_host="tcp://127.0.0.1:1")
    with pytest.raises(UserError, match=r"server = docker: .* --set infra_validator\.server="):
        validate(export, [], nowhere)


def test_image_that_cannot_be_pulled_is_a_user_error(export: str) -> None:
    with docker_engine.engine() as engine:
        unknown = settings(server="docker", docker_host=engine.url, image="nobody/serving:1")
        with pytest.raises(UserError, match="can pull nobody/serving:1"):
            validate(export, [], unknown)


def test_kubernetes_outside_a_cluster_is_a_user_error(
    export: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr(kube_utils, "_factory", type(kube_utils._factory)())
    with pytest.raises(UserError, match="works only in a pod of Kubeflow Pipelines"):
        validate(export, [], settings(server="kubernetes"))


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("tensorflow/serving:2.19.1", {"image_name": "tensorflow/serving", "tag": "2.19.1"}),
        ("host:5000/serving:a-b", {"image_name": "host:5000/serving", "tag": "a-b"}),
        (f"s@sha256:{'0' * 64}", {"image_name": "s", "digest": f"sha256:{'0' * 64}"}),
    ],
)
def test_image_is_parsed_into_name_and_tag_or_digest(image: str, parts: dict[str, str]) -> None:
    assert model_servers.parse_image(image) == parts


@pytest.mark.parametrize("image", ["tensorflow/serving", "s:latest", "s@sha256:12", "", "a b:1"])
def test_image_without_a_fixed_tag_is_refused(image: str) -> None:
    with pytest.raises(UserError, match="fixed tag or a digest"):
        model_servers.parse_image(image)


def wait_until_gone(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow  # each starts TensorFlow in a fresh process
class TestExecutor:
    def run(self, folder: Path, model: types.Artifact, examples: Any = None) -> types.Artifact:
        blessing = standard_artifacts.InfraBlessing()
        blessing.uri = str(folder / "blessing")
        os.makedirs(blessing.uri)
        node = make_infra_validator(
            model=types.Channel(type=standard_artifacts.Model), timeout_seconds=200, code_digest=""
        )
        InfraValidatorExecutor().Do(
            {"model": [model], "examples": [examples] if examples else []},
            {"blessing": [blessing]},
            dict(node.exec_properties),
        )
        return blessing

    def test_valid_model_is_blessed(self, tmp_path: Path, model: types.Artifact) -> None:
        rows = [(text, "positive") for text in exports.TEXTS]
        examples = exports.make_examples(tmp_path / "examples", rows)
        blessing = self.run(tmp_path, model, examples)
        assert os.listdir(blessing.uri).count("INFRA_BLESSED") == 1
        assert blessing.get_int_custom_property("blessed") == 1
        assert blessing.get_int_custom_property("current_model_id") == 7
        assert blessing.get_float_custom_property("peak_memory_mb") > 50
        report = json.loads(Path(blessing.uri, "report.json").read_text())
        assert report["failures"] == []
        assert report["texts"] == len(exports.TEXTS)
        assert 0 < report["model_size_mb"] < 1

    def test_model_with_different_answers_is_refused(self, tmp_path: Path) -> None:
        model = exports.make_model(tmp_path / "model")
        path = answers_file(os.path.join(model.uri, "Format-Serving"))
        other = exports.make_model(tmp_path / "other", sharpness=-2.0)
        path.write_text(answers_file(os.path.join(other.uri, "Format-Serving")).read_text())
        blessing = self.run(tmp_path, model)
        assert os.listdir(blessing.uri).count("INFRA_NOT_BLESSED") == 1
        assert blessing.get_int_custom_property("blessed") == 0
        assert "differs from the trainer's" in blessing.get_string_custom_property("outcome")

    def test_model_that_does_not_load_is_refused(self, tmp_path: Path) -> None:
        model = exports.make_model(tmp_path / "model")
        Path(model.uri, "Format-Serving", "saved_model.pb").write_bytes(b"garbage")
        report = json.loads(Path(self.run(tmp_path, model).uri, "report.json").read_text())
        assert report["blessed"] is False
        assert "cannot be read as a SavedModel" in report["failures"][0]["message"]

    def test_model_without_its_variables_is_refused(self, tmp_path: Path) -> None:
        model = exports.make_model(tmp_path / "model")
        Path(model.uri, "Format-Serving", "variables", "variables.index").unlink()
        report = json.loads(Path(self.run(tmp_path, model).uri, "report.json").read_text())
        assert report["blessed"] is False
        assert "cannot load the model" in report["failures"][0]["message"]


def test_summary_has_measurements_or_the_first_failure() -> None:
    measured = {"texts": 5, "load_seconds": 1.0, "peak_memory_mb": 300.0, "p99_ms": 9.0}
    assert summarise({"failures": [], **measured}).startswith("blessed: 5 answers match")
    assert (
        summarise({"failures": [{"message": "a"}, {"message": "b"}]}) == "refused, a (and 1 more)"
    )


def test_negative_setting_is_refused() -> None:
    with pytest.raises(UserError, match=r"infra_validator\.tolerance must be 0 or more"):
        make_infra_validator(
            model=types.Channel(type=standard_artifacts.Model), tolerance=-1, code_digest=""
        )


def test_settings_survive_execution_properties() -> None:
    node = make_infra_validator(
        model=types.Channel(type=standard_artifacts.Model), max_memory_mb=512, code_digest="abc"
    )
    assert node.id == "InfraValidator"
    assert node.exec_properties["code_digest"] == "abc"
    parsed = InfraValidatorSettings.from_json(node.exec_properties["settings"])
    assert parsed.limits == Limits(max_memory_mb=512)


class TestExecutorWithoutTensorFlow:
    """The executor with a server in this process in place of each kind of server."""

    @pytest.fixture
    def served_folders(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
        """Replace each server by a keyword classifier, and record the folders to be served."""
        folders: list[str] = []

        @contextlib.contextmanager
        def open_server(kind: str, export: str, *_: Any, **__: Any) -> Iterator[Any]:
            assert os.path.exists(os.path.join(export, "saved_model.pb"))
            folders.append(export)
            with classifier_server.served(classifier_server.classifier()) as server:
                yield server

        monkeypatch.setattr(infra_validator, "open_server", open_server)
        return folders

    def run(
        self, folder: Path, model: types.Artifact, examples: Any = None, **options: Any
    ) -> types.Artifact:
        blessing = standard_artifacts.InfraBlessing()
        blessing.uri = str(folder / "blessing")
        os.makedirs(blessing.uri)
        node = make_infra_validator(
            model=types.Channel(type=standard_artifacts.Model), code_digest="", **options
        )
        InfraValidatorExecutor().Do(
            {"model": [model], "examples": [examples] if examples else []},
            {"blessing": [blessing]},
            dict(node.exec_properties),
        )
        return blessing

    def test_model_is_blessed_without_tensorflow(
        self, tmp_path: Path, model: types.Artifact, served_folders: list[str]
    ) -> None:
        examples = exports.make_examples(
            tmp_path / "examples", [(text, "positive") for text in exports.TEXTS]
        )
        blessing = self.run(tmp_path, model, examples, texts=2)
        report = json.loads(Path(blessing.uri, "report.json").read_text())
        assert (report["blessed"], report["failures"], report["texts"]) == (True, [], 2)
        assert served_folders == [report["model"]]
        assert os.path.exists(os.path.join(blessing.uri, "INFRA_BLESSED"))
        assert blessing.get_int_custom_property("blessed") == 1
        assert blessing.get_string_custom_property("current_model") == model.uri
        assert blessing.get_float_custom_property("peak_memory_mb") == 512

    def test_wrong_answers_are_refused_without_tensorflow(
        self, tmp_path: Path, served_folders: list[str]
    ) -> None:
        model = exports.make_model(tmp_path / "model", sharpness=-2.0)
        blessing = self.run(tmp_path, model)
        assert os.path.exists(os.path.join(blessing.uri, "INFRA_NOT_BLESSED"))
        assert blessing.get_int_custom_property("blessed") == 0
        assert "differs from the trainer's" in blessing.get_string_custom_property("outcome")

    def test_pod_gets_a_copy_next_to_the_blessing_that_is_removed(
        self, tmp_path: Path, model: types.Artifact, served_folders: list[str]
    ) -> None:
        blessing = self.run(tmp_path, model, server="kubernetes")
        copy = Path(blessing.uri, "served", model_servers.MODEL_NAME, "1")
        assert served_folders == [str(copy)]
        assert blessing.get_int_custom_property("blessed") == 1
        assert not copy.parents[1].exists()

    def test_test_split_without_files_is_skipped(
        self, tmp_path: Path, model: types.Artifact, served_folders: list[str]
    ) -> None:
        examples = exports.make_examples(tmp_path / "examples", [("good", "positive")])
        for path in Path(examples.uri, "Split-test").iterdir():
            path.unlink()
        blessing = self.run(tmp_path, model, examples, texts=0)
        report = json.loads(Path(blessing.uri, "report.json").read_text())
        assert (report["blessed"], report["texts"]) == (True, len(exports.TEXTS))
