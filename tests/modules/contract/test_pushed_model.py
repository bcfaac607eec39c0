import json
from pathlib import Path

import pytest

from modules.contract.errors import UserError
from modules.contract.pushed_model import (
    Manifest,
    complete_versions,
    find_version,
    names_by_version,
    read_labels,
    read_manifest,
    read_model_card,
    version_folder,
    version_folders,
)


def make_version(base: Path, name: str) -> Path:
    (base / name).mkdir(parents=True)
    (base / name / "saved_model.pb").touch()
    return base / name


def test_versions_rise_as_numbers(tmp_path: Path) -> None:
    for name in ("9", "10", "1700000000", ".tmp-11", "latest"):
        make_version(tmp_path, name)
    (tmp_path / "12").mkdir()  # holds no model
    assert list(complete_versions(tmp_path)) == [9, 10, 1700000000]
    assert find_version(tmp_path).name == "1700000000"
    assert find_version(tmp_path, 9).name == "9"
    with pytest.raises(UserError, match=r"no version 3 .*pushed are 9, 10, 1700000000"):
        find_version(tmp_path, 3)


def test_no_model_yet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model is pushed to .*bert run"):
        find_version(tmp_path / "nowhere")


def test_half_copied_version_is_a_folder_but_not_complete(tmp_path: Path) -> None:
    make_version(tmp_path, "1")
    (tmp_path / "2" / "variables").mkdir(parents=True)
    (tmp_path / "3").touch()
    assert list(version_folders(tmp_path)) == [1, 2]
    assert list(complete_versions(tmp_path)) == [1]
    assert find_version(tmp_path) == tmp_path / "1"


@pytest.mark.parametrize(
    "name",
    ["²", "١", "1²", "-1", "+1", "1_0", " 1", "1.0", ".tmp-1", "1.part", "v1", "", str(2**63)],
)
def test_only_ascii_digits_that_fit_int64_name_a_version(tmp_path: Path, name: str) -> None:
    assert names_by_version(["7", name]) == {7: "7"}
    if name:
        make_version(tmp_path, name)
    assert complete_versions(tmp_path) == {}


def test_leading_zeros_parse(tmp_path: Path) -> None:
    padded = make_version(tmp_path, "00000002")
    make_version(tmp_path, "1")
    assert complete_versions(tmp_path) == {1: tmp_path / "1", 2: padded}
    assert find_version(tmp_path) == find_version(tmp_path, 2) == padded
    assert version_folder(tmp_path, 2) == padded


def test_number_in_two_folders_is_the_name_without_zeros() -> None:
    assert names_by_version(["7", "007"]) == names_by_version(["007", "7"]) == {7: "7"}


def test_folder_of_a_missing_version_is_where_it_would_be(tmp_path: Path) -> None:
    assert version_folder(tmp_path / "nowhere", 4) == tmp_path / "nowhere" / "4"


def test_linked_version_counts(tmp_path: Path) -> None:
    (tmp_path / "5").symlink_to(make_version(tmp_path / "elsewhere", "model"))
    assert list(complete_versions(tmp_path)) == [5]


def test_folder_without_labels_is_no_model_of_ours(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.txt"):
        read_labels(make_version(tmp_path, "1"))


def test_labels_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "labels.txt").write_text("no\nyés\n", "utf-8")
    assert read_labels(tmp_path) == ["no", "yés"]


def test_manifest_survives_a_round_trip(tmp_path: Path) -> None:
    manifest = Manifest("f", "gs://bucket/model", 3)
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "push.json").write_text(manifest.to_json())
    assert read_manifest(tmp_path) == manifest


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fingerprint": "f", "source": "s"}'])
def test_damaged_manifest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a manifest"):
        Manifest.from_json(text)


def test_model_card_is_an_object(tmp_path: Path) -> None:
    file = tmp_path / "assets.extra" / "model_card.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"encoder": "tiny"}))
    assert read_model_card(tmp_path) == {"encoder": "tiny"}
    file.write_text("[]")
    with pytest.raises(ValueError, match="must be a JSON object"):
        read_model_card(tmp_path)
