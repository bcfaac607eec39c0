import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data.archives import archive_texts, check_digest, download
from modules.contract.errors import DataError

CONTENT = b"an archive" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.tar.gz").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def archive_of(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def texts_of(path: Path, *, file_bytes: int = 100, total: int = 1000) -> list[tuple[str, bytes]]:
    return list(archive_texts(path, max_file_bytes=file_bytes, max_total_bytes=total))


def test_download_is_verified_and_complete(address: str, tmp_path: Path) -> None:
    target = tmp_path / "got"
    download(f"{address}/a.tar.gz", target, max_bytes=1 << 20, sha256=DIGEST)
    assert target.read_bytes() == CONTENT
    assert {path.name for path in tmp_path.iterdir()} == {"got", "served"}


@pytest.mark.parametrize(
    ("name", "max_bytes", "digest", "message"),
    [
        ("a.tar.gz", 1 << 20, "0" * 64, "another file than expected"),
        ("a.tar.gz", 100, DIGEST, "another file than expected"),
        ("none.tar.gz", 100, DIGEST, r"cannot be downloaded: HTTP Error 404.*--from PATH"),
    ],
)
def test_failed_download_leaves_nothing(
    address: str, tmp_path: Path, name: str, max_bytes: int, digest: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        download(f"{address}/{name}", tmp_path / "got", max_bytes=max_bytes, sha256=digest)
    assert {path.name for path in tmp_path.iterdir()} == {"served"}


def test_failed_connection_names_the_option(address: str, tmp_path: Path) -> None:
    nobody_there = "http://127.0.0.1:9/a.tar.gz"
    with pytest.raises(DataError, match=r"cannot be downloaded: .*--from PATH"):
        download(nobody_there, tmp_path / "got", max_bytes=100, sha256=DIGEST)


def test_file_with_another_digest_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    check_digest(path, DIGEST)
    with pytest.raises(DataError, match="is not the expected archive"):
        check_digest(path, "0" * 64)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        check_digest(tmp_path / "b", DIGEST)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        check_digest(tmp_path, DIGEST)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2"])
def test_regular_files_are_read_in_order(tmp_path: Path, mode: str) -> None:
    members = [(tarfile.TarInfo(name), name.encode()) for name in ("b/2.txt", "a/1.txt")]
    path = archive_of(tmp_path / "a.tar", *members, mode=mode)
    assert texts_of(path) == [("b/2.txt", b"b/2.txt"), ("a/1.txt", b"a/1.txt")]


def test_hostile_members_do_not_write_files(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    link = tarfile.TarInfo("link.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device = tarfile.TarInfo("device.txt")
    device.type = tarfile.CHRTYPE
    hard = tarfile.TarInfo("hard.txt")
    hard.type, hard.linkname = tarfile.LNKTYPE, "../escaped.txt"
    path = archive_of(
        inside / "a.tar.gz",
        (tarfile.TarInfo("../escaped.txt"), b"x"),
        (tarfile.TarInfo(f"{tmp_path}/absolute.txt"), b"x"),
        (link, b""),
        (device, b""),
        (hard, b""),
    )
    assert [content for _, content in texts_of(path)] == [b"x", b"x"]
    assert [path.name for path in tmp_path.rglob("*")] == ["inside", "a.tar.gz"]


def test_limits_apply_before_members_are_read(tmp_path: Path) -> None:
    big = archive_of(tmp_path / "big", (tarfile.TarInfo("big.txt"), b"x" * 101))
    with pytest.raises(DataError, match=r"big\.txt is too large \(101 bytes"):
        texts_of(big)
    members = [(tarfile.TarInfo(f"{n}.txt"), b"x" * 100) for n in range(11)]
    many = archive_of(tmp_path / "many", *members)
    with pytest.raises(DataError, match="1100 in all"):
        texts_of(many)


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"\x1f\x8b but no gzip"])
def test_other_files_are_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as a tar archive"):
        texts_of(path)


def test_truncated_archive_is_rejected(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a", (tarfile.TarInfo("a"), bytes(range(100))))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="cannot be read as a tar archive"):
        texts_of(path)
