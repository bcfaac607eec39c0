import subprocess
import sys
from pathlib import Path

import pytest

from cli import main as cli
from cli import versions

REPOSITORY = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit."""
    (tmp_path / "file").write_text("a")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "Add a file"]):
        subprocess.run([*GIT, *words], cwd=tmp_path, check=True)
    return tmp_path


def test_version_prints_product_libraries_and_commit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = {"bert-tfx": "0.1.0", "tfx": "1.16.0", "tensorflow": "2.16.2"}
    monkeypatch.setattr(versions.importlib.metadata, "version", installed.__getitem__)
    monkeypatch.setattr(versions, "commit", lambda *_: COMMIT[:12])
    monkeypatch.setattr(versions.platform, "python_version", lambda: "3.11.7")
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.splitlines() == [
        "bert 0.1.0",
        "commit 0123456789ab",
        "tfx 1.16.0",
        "tensorflow 2.16.2",
        "python 3.11.7",
    ]


def test_version_imports_neither_tfx_nor_tensorflow() -> None:
    code = (
        "import sys; from cli.versions import version_lines; print(version_lines()[0]);"
        "print({'tfx', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["bert 0.1.0", "set()"]


def test_commit_of_a_checkout_is_its_head(checkout: Path) -> None:
    head = subprocess.check_output([*GIT, "rev-parse", "HEAD"], cwd=checkout, text=True)
    assert versions.commit(checkout, {versions.COMMIT_VARIABLE: COMMIT}) == head[:12]


def test_commit_of_an_edited_checkout_is_dirty(checkout: Path) -> None:
    (checkout / "file").write_text("b")
    assert versions.commit(checkout, {}).endswith("-dirty")


def test_commit_of_an_image_is_the_one_it_was_built_from(tmp_path: Path) -> None:
    assert versions.commit(tmp_path, {versions.COMMIT_VARIABLE: COMMIT}) == COMMIT[:12]


def test_commit_is_unknown_without_a_record(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert versions.commit(tmp_path / "elsewhere", {}) == "unknown"
    assert versions.commit(tmp_path / "elsewhere", {versions.COMMIT_VARIABLE: ""}) == "unknown"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert versions.commit(checkout, {}) == "unknown", "git is not installed"


def test_version_of_a_package_that_is_not_installed_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(package: str) -> str:
        raise versions.importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(versions.importlib.metadata, "version", missing)
    assert versions.version_lines()[2] == "tfx unknown"
