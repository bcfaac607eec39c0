"""The Resolver for platforms without a metadata store, on real push folders."""

from pathlib import Path

import pytest
from tfx.types import standard_artifacts
from tfx.types.artifact import Artifact
from tfx.utils import path_utils

from components.deployed_model import DeployedModelExecutor
from components.publishing import local, remote
from components.publishing.manifest import ABSENT


def export(folder: Path, content: str) -> str:
    """Write a model artifact's folder and return its URI."""
    target = Path(path_utils.serving_model_path(str(folder)))
    target.mkdir(parents=True)
    (target / "saved_model.pb").write_text(content)
    return str(folder)


def push(base: Path, model: str) -> int:
    outcome = local.push(path_utils.serving_model_path(model), model, str(base))
    assert outcome.version is not None
    return outcome.version


def resolve(base: Path, candidate: str, output: Path) -> Artifact:
    new, baseline = standard_artifacts.Model(), standard_artifacts.Model()
    new.uri, baseline.uri = candidate, str(output)
    DeployedModelExecutor().Do(
        {"candidate": [new]}, {"model": [baseline]}, {"base_directory": str(base)}
    )
    return baseline


def test_newest_push_is_copied(tmp_path: Path) -> None:
    base = tmp_path / "serving"
    push(base, export(tmp_path / "first", "one"))
    version = push(base, export(tmp_path / "second", "two"))
    found = resolve(base, export(tmp_path / "candidate", "three"), tmp_path / "output")
    assert found.get_int_custom_property(ABSENT) == 0
    assert found.get_string_custom_property("pushed_version") == str(version)
    copy = Path(path_utils.serving_model_path(found.uri)) / "saved_model.pb"
    assert copy.read_text() == "two"


def test_version_with_leading_zeros_is_copied(tmp_path: Path) -> None:
    base = tmp_path / "serving"
    version = push(base, export(tmp_path / "first", "one"))
    (base / str(version)).rename(base / f"000{version}")
    found = resolve(base, export(tmp_path / "candidate", "two"), tmp_path / "output")
    assert found.get_string_custom_property("pushed_version") == str(version)
    copy = Path(path_utils.serving_model_path(found.uri)) / "saved_model.pb"
    assert copy.read_text() == "one"


def test_candidate_is_skipped(tmp_path: Path) -> None:
    """In a fully cached rerun, the candidate is the newest push."""
    base = tmp_path / "serving"
    version = push(base, export(tmp_path / "first", "one"))
    candidate = export(tmp_path / "candidate", "two")
    push(base, candidate)
    found = resolve(base, candidate, tmp_path / "output")
    assert found.get_string_custom_property("pushed_version") == str(version)


@pytest.mark.parametrize("made", [False, True])
def test_baseline_is_absent_if_nothing_is_deployed(tmp_path: Path, made: bool) -> None:
    base = tmp_path / "serving"
    if made:
        base.mkdir()
    found = resolve(base, export(tmp_path / "candidate", "one"), tmp_path / "output")
    assert found.get_int_custom_property(ABSENT) == 1
    assert not (tmp_path / "output").exists()


def test_partial_and_foreign_versions_do_not_count(tmp_path: Path) -> None:
    base = tmp_path / "serving"
    version = push(base, export(tmp_path / "first", "one"))
    (base / str(version + 1)).mkdir()
    other = base / str(version + 2)
    other.mkdir()
    (other / "saved_model.pb").write_text("not ours")
    found = remote.newest_push(str(base))
    assert found is not None
    assert found.version == version
