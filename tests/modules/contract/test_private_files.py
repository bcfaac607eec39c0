import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modules.contract.private_files import make_private_folder, private_opener


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_created_folders_are_for_the_owner_only(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(0o755)
    make_private_folder(shared / "a" / "b")
    make_private_folder(shared / "a" / "b")
    assert [mode(shared), mode(shared / "a"), mode(shared / "a" / "b")] == [0o755, 0o700, 0o700]


def test_file_in_place_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        make_private_folder(tmp_path / "file")


def test_new_file_is_for_the_owner_only(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w", opener=private_opener) as file:
        file.write("text")
    assert mode(tmp_path / "log") == 0o600
