import os

import pytest

from serving.protocol.errors import ServingError
from serving.server.versions import version_source


def folders(base, *names):
    for name in names:
        (base / name).mkdir(parents=True)
    return str(base)


def found(base) -> dict[int, str]:
    return {
        number: os.path.basename(path)
        for number, path in version_source.find_versions(str(base)).items()
    }


def test_folders_named_by_numbers_are_versions(tmp_path) -> None:
    folders(tmp_path, "1", "00000123", "0", "1700000000000")
    assert found(tmp_path) == {
        1: "1",
        123: "00000123",
        0: "0",
        1700000000000: "1700000000000",
    }


@pytest.mark.parametrize(
    "name",
    ["-1", "+1", "1.5", "1_000", "v1", "12.tmp", ".12", "temp-12", " 7", "١", str(2**63)],
)
def test_folders_with_other_names_are_not_versions(tmp_path, name) -> None:
    folders(tmp_path, "3", name)
    assert found(tmp_path) == {3: "3"}


def test_file_is_not_a_version(tmp_path) -> None:
    (tmp_path / "5").write_text("")
    assert found(tmp_path) == {}


def test_linked_folder_is_a_version(tmp_path) -> None:
    folders(tmp_path, "elsewhere/model")
    (tmp_path / "8").symlink_to(tmp_path / "elsewhere" / "model")
    assert found(tmp_path) == {8: "8"}


def test_version_in_two_folders_is_reported(tmp_path, caplog) -> None:
    folders(tmp_path, "7", "007")
    assert list(found(tmp_path)) == [7]
    assert "version 7 is in two folders" in caplog.text


def test_missing_base_path_has_no_versions(tmp_path, caplog) -> None:
    assert found(tmp_path / "nowhere") == {}
    assert "nowhere" in caplog.text


def test_fingerprint_changes_with_the_model_file(tmp_path) -> None:
    empty = version_source.fingerprint(str(tmp_path))
    (tmp_path / "saved_model.pb").write_bytes(b"1")
    first = version_source.fingerprint(str(tmp_path))
    assert version_source.fingerprint(str(tmp_path)) == first != empty
    (tmp_path / "saved_model.pb").write_bytes(b"22")
    assert version_source.fingerprint(str(tmp_path)) != first


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "assets.extra/model_card.json", "variables/variables.index"]
)
def test_version_with_a_pipe_is_refused(tmp_path, name) -> None:
    path = tmp_path / "1" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "linked").symlink_to(path)
    (tmp_path / "3").symlink_to(tmp_path / "1")
    for version in "123":
        with pytest.raises(ServingError, match="is not a regular file"):
            version_source.check_files(str(tmp_path / version))


def test_version_with_files_and_links_is_accepted(tmp_path) -> None:
    folders(tmp_path, "1/variables", "data")
    (tmp_path / "data" / "file").write_text("")
    (tmp_path / "1" / "saved_model.pb").symlink_to(tmp_path / "data" / "file")
    (tmp_path / "1" / "loop").symlink_to(tmp_path / "1")
    (tmp_path / "1" / "broken").symlink_to(tmp_path / "nowhere")
    version_source.check_files(str(tmp_path / "1"))
    version_source.check_files(str(tmp_path / "missing"))
