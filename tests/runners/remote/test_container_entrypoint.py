"""The container's entrypoint without a platform, in process and once as a process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.object_store_mounts import ROOT_VARIABLE
from runners.remote import container_entrypoint as entrypoint

REPOSITORY = Path(__file__).resolve().parents[3]
MODEL = {"instanceSchema": "title: tfx.Model\ntype: object\n"}


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    return tmp_path


def task(**artifact: Any) -> dict[str, Any]:
    given = {"name": "123", "uri": "s3://bucket/run/Trainer/model", **artifact}
    made = {"uri": "s3://bucket/run/Pusher/pushed_model", "type": MODEL}
    return {
        "inputs": {"artifacts": {"model": {"artifacts": [given]}}},
        "outputs": {
            "artifacts": {"pushed_model": {"artifacts": [made]}},
            "outputFile": "s3://bucket/run/output.json",
        },
    }


SPECIFICATION = {"artifacts": {"model": {"artifactType": MODEL}}}


@pytest.mark.parametrize("empty", [{}, {"type": {}}])
def test_missing_type_is_taken_from_the_specification(mounts: Path, empty: dict[str, Any]) -> None:
    order = task(**empty)
    entrypoint.prepare(order, SPECIFICATION)
    [model] = order["inputs"]["artifacts"]["model"]["artifacts"]
    assert model["type"] == MODEL


def test_given_type_is_kept(mounts: Path) -> None:
    given = {"schemaTitle": "tfx.Model"}
    order = task(type=given)
    entrypoint.prepare(order, SPECIFICATION)
    assert order["inputs"]["artifacts"]["model"]["artifacts"][0]["type"] == given


def test_artifacts_are_accessed_through_mounts(mounts: Path) -> None:
    order = task()
    entrypoint.prepare(order, SPECIFICATION)
    [model] = order["inputs"]["artifacts"]["model"]["artifacts"]
    assert model["uri"] == f"{mounts}/s3/bucket/run/Trainer/model"
    assert "name" not in model
    assert order["outputs"]["outputFile"] == f"{mounts}/s3/bucket/run/output.json"
    assert (mounts / "s3/bucket/run/Pusher/pushed_model").is_dir()


def test_output_contains_uris_instead_of_mounts(mounts: Path) -> None:
    file = mounts / "s3" / "bucket" / "output.json"
    result = {"artifacts": {"m": {"artifacts": [{"uri": f"{mounts}/s3/bucket/run/m"}]}}}
    entrypoint.write_output(file, result)
    [artifact] = json.loads(file.read_text())["artifacts"]["m"]["artifacts"]
    assert artifact["uri"] == "s3://bucket/run/m"


def test_integers_of_a_driver_stay_integers() -> None:
    order, specification = task(), {}
    found = {"parameterValues": {"span": 3, "input_fingerprint": "abc"}}
    entrypoint.merge(found, order, specification)
    assert order["inputs"]["parameterValues"] == found["parameterValues"]
    assert specification["parameters"] == {"span": {"parameterType": "NUMBER_INTEGER"}}


def test_metadata_of_a_driver_is_added_to_the_outputs() -> None:
    order = task()
    result = {"artifacts": {"pushed_model": {"artifacts": [{"metadata": {"span": 3}}]}}}
    entrypoint.merge(result, order, {})
    assert order["outputs"]["artifacts"]["pushed_model"]["artifacts"][0]["metadata"] == {"span": 3}


@pytest.mark.slow
def test_user_error_is_reported_in_one_line(tmp_path: Path) -> None:
    """Run ExampleGen's task with missing data in a separate process."""
    parameters = {
        "paths": json.dumps([str(tmp_path / "nothing.csv")]),
        "data_format": "auto",
        "text_column": "text",
        "label_column": "label",
        "slice_columns": "[]",
        "labels": "[]",
        "max_bad_share": 0.01,
        "max_text_bytes": 1000,
        "split": '{"train": 8, "eval": 1, "test": 1}',
        "quarantine_directory": "",
        "code_digest": "",
    }
    examples = {"uri": str(tmp_path / "examples"), "type": {"schemaTitle": "tfx.Examples"}}
    order = {
        "inputs": {"parameterValues": parameters},
        "outputs": {
            "artifacts": {"examples": {"artifacts": [examples]}},
            "outputFile": str(tmp_path / "output.json"),
        },
    }
    kinds = {"max_bad_share": "NUMBER_DOUBLE", "max_text_bytes": "NUMBER_INTEGER"}
    declared = {key: {"parameterType": kinds.get(key, "STRING")} for key in parameters}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "runners.remote.container_entrypoint"),
            *("--driver_class_path", "components.ingestion.driver.Driver"),
            *("--executor_class_path", "components.ingestion.executor.Executor"),
            *("--json_serialized_invocation_args", json.dumps(order)),
            *("--json_serialized_inputs_spec_args", json.dumps({"parameters": declared})),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "nothing.csv" in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "output.json").exists()
