"""A model that loads and answers otherwise is refused, and so is one that cannot be checked."""

import ast
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from tfx import types
from tfx.types import standard_artifacts

from components.infra_validation import worker
from components.infra_validation.checks import Limits, check_reply
from components.infra_validation.process import run_worker
from components.infra_validator import (
    InfraValidatorExecutor,
    InfraValidatorSettings,
    make_infra_validator,
    read_expected_answers,
    summarise,
    validate,
)
from modules import features
from modules.errors import ModelError, UserError
from tests.components import exports

TOLERANCE = 1e-4


def settings(**values: Any) -> InfraValidatorSettings:
    base = {"texts": 16, "tolerance": TOLERANCE, "limits": Limits(), "timeout_seconds": 120.0}
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


@pytest.fixture(scope="module")
def reply(export: str, expected: list[dict[str, Any]]) -> dict[str, Any]:
    """What the worker says of a sound export; run here, in this process, to save an import."""
    examples = [
        exports.make_example({"text": text, "label": "positive", "domain": "films"})
        for text in exports.TEXTS
    ]
    return worker.replay(export, [record["text"] for record in expected], examples)


class TestReplay:
    def test_it_asks_in_every_way(self, reply: dict[str, Any]) -> None:
        ways = {"one_by_one", "one_batch", "examples", "test_texts", "test_examples"}
        assert set(reply["answers"]) == ways
        assert reply["errors"] == {}

    def test_it_measures(self, reply: dict[str, Any]) -> None:
        assert 0 < reply["p50_ms"] <= reply["p99_ms"]
        assert reply["load_seconds"] > 0
        resident = psutil.Process().memory_info().rss / 1024 / 1024
        assert reply["peak_memory_mb"] > resident / 2

    def test_a_signature_that_fails_is_a_finding(self, export: str) -> None:
        said = worker.replay(export, ["good"], [exports.make_example({"label": "positive"})])
        assert set(said["errors"]) == {"test_texts", "test_examples"}
        assert set(said["answers"]) == {"one_by_one", "one_batch", "examples"}


class TestChecks:
    def test_a_sound_model_passes(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        assert check_reply(reply, expected, TOLERANCE, Limits()) == []

    def test_other_scores_are_refused_text_by_text(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        other = [dict(record) for record in expected]
        other[1]["scores"] = [s + 0.001 for s in other[1]["scores"]]
        failures = check_reply(reply, other, TOLERANCE, Limits())
        assert len(failures) == 3  # one by one, in a batch, as examples
        assert {failure.text for failure in failures} == {other[1]["text"]}
        assert "differs from the trainer's by 1.00e-03" in failures[0].message

    def test_tolerance_is_what_it_says(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        other = [{**r, "scores": [s + 0.001 for s in r["scores"]]} for r in expected]
        assert check_reply(reply, other, 0.002, Limits()) == []

    def test_labels_in_another_order_are_refused(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        swapped = {"positive": "negative", "negative": "positive"}
        other = [{**record, "label": swapped[record["label"]]} for record in expected]
        failures = check_reply(reply, other, TOLERANCE, Limits())
        # The last text is a tie, where either label is right.
        assert len(failures) == 3 * (len(expected) - 1)
        assert "where the trainer answered" in failures[0].message

    def test_nan_is_refused_and_written_as_null(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        broken = json.loads(json.dumps(reply))
        broken["answers"]["one_batch"]["scores"][0] = [float("nan")] * 2
        [failure] = check_reply(broken, expected, TOLERANCE, Limits())
        assert failure.to_dict()["received"]["scores"] == [None, None]
        json.dumps(failure.to_dict(), allow_nan=False)

    def test_another_number_of_classes_or_answers(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        broken = json.loads(json.dumps(reply))
        broken["answers"]["one_batch"]["scores"][0] = [1.0]
        broken["answers"]["examples"] = {"scores": [], "labels": []}
        messages = [f.message for f in check_reply(broken, expected, TOLERANCE, Limits())]
        assert "1 scores where the trainer gave 2" in messages[0]
        assert "0 answers to 5 texts" in messages[1]

    def test_a_missing_signature_is_named(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        broken = {**reply, "signatures": ["serving_default"]}
        [failure] = check_reply(broken, expected, TOLERANCE, Limits())
        assert "no signature 'serving_examples'" in failure.message

    def test_a_way_that_failed_is_refused(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        broken = {**reply, "errors": {"examples": "InvalidArgumentError: no text"}}
        [failure] = check_reply(broken, expected, TOLERANCE, Limits())
        assert failure.message == "serving_examples fails: InvalidArgumentError: no text"

    def test_examples_answered_otherwise_than_their_texts(
        self, reply: dict[str, Any], expected: list[dict[str, Any]]
    ) -> None:
        broken = json.loads(json.dumps(reply))
        broken["answers"]["test_examples"]["scores"][2] = [0.5, 0.5]
        [failure] = check_reply(broken, expected, TOLERANCE, Limits())
        assert "1 of 5 test examples otherwise" in failure.message

    @pytest.mark.parametrize(
        ("limits", "words"),
        [
            (Limits(max_load_seconds=1e-9), "loading took"),
            (Limits(max_memory_mb=1e-9), "memory peaked"),
            (Limits(max_latency_ms=1e-9), "99th percentile"),
        ],
    )
    def test_limits(
        self,
        reply: dict[str, Any],
        expected: list[dict[str, Any]],
        limits: Limits,
        words: str,
    ) -> None:
        [failure] = check_reply(reply, expected, TOLERANCE, limits)
        assert failure.message.startswith(words) or words in failure.message
        generous = Limits(1e6, 1e6, 1e6)
        assert check_reply(reply, expected, TOLERANCE, generous) == []


class TestExpectedAnswers:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "no answers of its trainer"),
            ("", "are empty"),
            ("\n\n", "are empty"),
            ("{torn\n", "cannot be read"),
            ('{"text": "good"}\n', "cannot be read"),
            ('{"text": "good", "label": "positive", "scores": []}\n', "cannot be read"),
        ],
    )
    def test_what_cannot_be_compared_is_never_blessed(
        self, tmp_path: Path, content: str | None, message: str
    ) -> None:
        path = answers_file(str(tmp_path))
        path.parent.mkdir()
        if content is not None:
            path.write_text(content)
        report = validate(str(tmp_path), [], settings())
        assert report["blessed"] is False
        assert message in report["failures"][0]["message"]


class TestProcess:
    """What becomes of the process, tried on small scripts in the worker's place."""

    def command(self, tmp_path: Path, code: str) -> list[str]:
        script = tmp_path / "script.py"
        script.write_text("import json, os, signal, subprocess, sys, time\n" + code)
        return [sys.executable, str(script)]

    def test_request_and_reply_go_through(self, tmp_path: Path) -> None:
        code = (
            "request = json.load(open(sys.argv[1])); json.dump([request], open(sys.argv[2], 'w'))"
        )
        reply = run_worker({"a": 1}, 60, self.command(tmp_path, code))
        assert reply == [{"a": 1, "timeout_seconds": 60}]

    def test_a_crash_is_told_with_its_last_words(self, tmp_path: Path) -> None:
        code = "print('op type not registered', file=sys.stderr); sys.exit(3)"
        with pytest.raises(ModelError, match="ended with status 3: op type not registered"):
            run_worker({}, 60, self.command(tmp_path, code))

    def test_a_signal_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="killed by SIGSEGV"):
            run_worker({}, 60, self.command(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)"))

    def test_ending_well_without_a_reply_is_a_failure(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="it said nothing"):
            run_worker({}, 60, self.command(tmp_path, "pass"))

    def test_time_out_kills_the_whole_group(self, tmp_path: Path) -> None:
        pids = tmp_path / "pids"
        code = f"""
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(pids)!r} + ".part", "w").write(f"{{os.getpid()}} {{child.pid}}")
os.rename({str(pids)!r} + ".part", {str(pids)!r})
time.sleep(600)
"""
        started = time.monotonic()
        with pytest.raises(ModelError, match="longer than 4 s"):
            run_worker({}, 4, self.command(tmp_path, code))
        assert time.monotonic() - started < 60
        for pid in map(int, pids.read_text().split()):
            assert wait_until_gone(pid), f"process {pid} outlived the time-out"

    def test_what_a_worker_leaves_running_is_killed_too(self, tmp_path: Path) -> None:
        pids = tmp_path / "pids"
        code = f"""
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(pids)!r}, "w").write(str(child.pid))
json.dump({{}}, open(sys.argv[2], "w"))
"""
        run_worker({}, 60, self.command(tmp_path, code))
        assert wait_until_gone(int(pids.read_text()))

    def test_the_worker_imports_nothing_of_tfx(self) -> None:
        imported = set()
        for node in ast.walk(ast.parse(Path(worker.__file__).read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module))
        assert imported <= sys.stdlib_module_names | {
            "collections.abc",
            "numpy",
            "tensorflow",
            "tensorflow_text",
        }


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

    def test_a_sound_model_is_blessed(self, tmp_path: Path, model: types.Artifact) -> None:
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

    def test_a_model_that_answers_otherwise_is_refused(self, tmp_path: Path) -> None:
        model = exports.make_model(tmp_path / "model")
        path = answers_file(os.path.join(model.uri, "Format-Serving"))
        other = exports.make_model(tmp_path / "other", sharpness=-2.0)
        path.write_text(answers_file(os.path.join(other.uri, "Format-Serving")).read_text())
        blessing = self.run(tmp_path, model)
        assert os.listdir(blessing.uri).count("INFRA_NOT_BLESSED") == 1
        assert blessing.get_int_custom_property("blessed") == 0
        assert "differs from the trainer's" in blessing.get_string_custom_property("outcome")

    def test_a_model_that_does_not_load_is_refused(self, tmp_path: Path) -> None:
        model = exports.make_model(tmp_path / "model")
        Path(model.uri, "Format-Serving", "saved_model.pb").write_bytes(b"garbage")
        report = json.loads(Path(self.run(tmp_path, model).uri, "report.json").read_text())
        assert report["blessed"] is False
        assert "ended with status 1" in report["failures"][0]["message"]


def test_one_line_says_what_was_found() -> None:
    measured = {"texts": 5, "load_seconds": 1.0, "peak_memory_mb": 300.0, "p99_ms": 9.0}
    assert summarise({"failures": [], **measured}).startswith("blessed: 5 texts answered")
    assert (
        summarise({"failures": [{"message": "a"}, {"message": "b"}]}) == "refused, a (and 1 more)"
    )


def test_the_node_refuses_negative_limits() -> None:
    with pytest.raises(UserError, match=r"infra_validator\.tolerance must be 0 or more"):
        make_infra_validator(
            model=types.Channel(type=standard_artifacts.Model), tolerance=-1, code_digest=""
        )


def test_settings_survive_the_trip_to_the_worker() -> None:
    node = make_infra_validator(
        model=types.Channel(type=standard_artifacts.Model), max_memory_mb=512, code_digest="abc"
    )
    assert node.id == "InfraValidator"
    assert node.exec_properties["code_digest"] == "abc"
    parsed = InfraValidatorSettings.from_json(node.exec_properties["settings"])
    assert parsed.limits == Limits(max_memory_mb=512)
