import os
from pathlib import Path
from typing import Any

import pytest

from modules.contract.atomic_file import whole_binary_file, whole_file, write_bytes, write_text


def test_write_text_creates_and_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_text(path, "one")
    write_text(path, "zwei ü")
    assert path.read_text("utf-8") == "zwei ü"
    assert list(path.parent.iterdir()) == [path]


def test_file_mode_follows_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "")
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_failed_write_keeps_the_old_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    write_text(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("opened", "content"), [(whole_file, "new"), (whole_binary_file, b"new")])
def test_failure_in_the_block_leaves_the_old_file_and_no_other(
    tmp_path: Path, opened: Any, content: Any
) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"old")

    def fail() -> None:
        with opened(path) as file:
            file.write(content)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_keeps_its_newlines(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a") as file:
        file.write("one\r\ntwo\n")
    assert (tmp_path / "a").read_bytes() == b"one\r\ntwo\n"


def test_mode_is_that_of_the_new_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"", mode=0o400)
    write_bytes(tmp_path / "a", b"new", mode=0o400)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o400
    assert (tmp_path / "a").read_bytes() == b"new"


def test_named_aside_file_reuses_what_a_killed_write_left(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b"left behind, and longer")
    with whole_binary_file(tmp_path / "a", aside=tmp_path / "a.part") as file:
        assert not (tmp_path / "a").exists()
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_file_and_then_its_folder_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda each: synced.append(os.readlink(f"/proc/self/fd/{each}"))
    )
    write_text(tmp_path / "a", "")
    assert [Path(each).parent for each in synced] == [tmp_path, tmp_path.parent]
    assert synced[1] == str(tmp_path)
