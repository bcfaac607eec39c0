import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest

from cli import doctor
from pipeline.config import Config

GIB = 2**30


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_supported_python_is_ok(version: tuple[int, int]) -> None:
    assert doctor.check_python(version).state == "ok"


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_unsupported_python_fails_and_names_the_supported_versions(
    version: tuple[int, int],
) -> None:
    check = doctor.check_python(version)
    assert check.state == "failed"
    assert "allowed: 3.11, 3.12, 3.13" in check.detail


@pytest.mark.parametrize(
    ("python", "libc", "state"),
    [
        ((3, 11), ("glibc", "2.36"), "ok"),
        ((3, 13), ("glibc", "2.39"), "ok"),
        ((3, 13), ("glibc", "2.100"), "ok"),
        ((3, 13), ("glibc", "2.36"), "failed"),
        ((3, 11), ("", ""), "warning"),
    ],
)
def test_newer_stack_needs_a_newer_glibc(
    python: tuple[int, int], libc: tuple[str, str], state: str
) -> None:
    assert doctor.check_glibc(python, libc).state == state


def test_old_glibc_suggests_python_311() -> None:
    detail = doctor.check_glibc((3, 12), ("glibc", "2.36")).detail
    assert "2.39" in detail
    assert "use Python 3.11" in detail
    assert "\n" not in detail


def test_versions_are_compared_with_the_supported_pair() -> None:
    found = {"tfx": "1.16.0", "tensorflow": "2.17.0"}

    def installed(name: str) -> str:
        if name not in found:
            raise importlib.metadata.PackageNotFoundError(name)
        return found[name]

    checks = {check.name: check for check in doctor.check_versions((3, 11), installed)}
    assert checks["tfx"].state == "ok"
    assert checks["tensorflow"].state == "warning"
    assert "tested with 2.16.2" in checks["tensorflow"].detail
    assert checks["tensorflow-text"].state == "failed"
    assert list(doctor.check_versions((3, 9), installed)) == []


def test_stacks_match_the_project_file() -> None:
    """The installer reads the versions from pyproject.toml."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    for (_, minor), stack in doctor.STACKS.items():
        marker = "python_version < '3.12'" if minor < 12 else "python_version >= '3.12'"
        for package, version in stack.items():
            assert f'"{package}=={version} ; {marker}"' in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("fpu avx512_bf16 amx_bf16", "AVX512_BF16 and AMX: trainer.precision=mixed_bfloat16"),
        ("fpu avx512f", "no AVX512_BF16 or AMX: trainer.precision=float32"),
    ],
)
def test_processor_check_names_the_fastest_precision(
    tmp_path: Path, flags: str, words: str
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    check = doctor.check_processor(tmp_path / "cpuinfo")
    assert check.state == "ok"
    assert words in check.detail


@pytest.mark.parametrize(("gib", "state"), [(1, "failed"), (4, "warning"), (16, "ok")])
def test_little_available_memory_is_reported(gib: int, state: str) -> None:
    assert doctor.check_memory(gib * GIB).state == state


@pytest.mark.parametrize(("gib", "state"), [(1, "failed"), (4, "warning"), (16, "ok")])
def test_little_free_disk_space_is_reported(tmp_path: Path, gib: int, state: str) -> None:
    assert doctor.check_disk(tmp_path / "not" / "yet", gib * GIB).state == state


def test_missing_folder_is_writable_if_its_parent_is(tmp_path: Path) -> None:
    check = doctor.check_writable("pipeline.root", tmp_path / "a" / "b")
    assert check.state == "ok"
    assert list(tmp_path.iterdir()) == []


def test_file_in_place_of_a_folder_fails(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    check = doctor.check_writable("pipeline.root", tmp_path / "a" / "b")
    assert check.state == "failed"
    assert check.detail.endswith("set pipeline.root")


def states(found: dict[str, Any]) -> dict[str, str]:
    return {check.name: check.state for check in doctor.check_tensorflow(found, "minilm")}


def test_working_installation_passes_every_check() -> None:
    found = {"tensorflow": "2.16.2", "gpus": [], "tensorboard": "2.16.2", "encoder": "ab" * 32}
    names = ("TensorFlow", "GPUs", "TensorBoard", "encoder")
    assert states(found) == dict.fromkeys(names, "ok")


def test_gpus_are_named() -> None:
    found = {"tensorflow": "2.16.2", "gpus": ["NVIDIA H200"]}
    details = {check.name: check.detail for check in doctor.check_tensorflow(found, "minilm")}
    assert details["GPUs"] == "NVIDIA H200"


@pytest.mark.parametrize(
    ("found", "failed"),
    [
        ({"crash": "exit code -4: no output"}, {"TensorFlow"}),
        ({"tensorflow_error": "ImportError: x", "tensorboard": "2"}, {"TensorFlow"}),
        ({"tensorflow": "2", "tensorboard_error": "x", "encoder": "a"}, {"TensorBoard"}),
        ({"tensorflow": "2", "tensorboard": "2", "encoder_error": "wrong"}, {"encoder"}),
    ],
)
def test_failed_import_fails_its_check(found: dict[str, Any], failed: set[str]) -> None:
    assert {name for name, state in states(found).items() if state == "failed"} == failed


def test_crash_of_the_probe_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE", "import os; os.abort()")
    assert "exit code -6" in doctor.probe("minilm")["crash"]


def test_hang_of_the_probe_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "_PROBE_SECONDS", 0.5)
    assert doctor.probe("minilm") == {"crash": "no answer in 0.5 s"}


@pytest.mark.slow
def test_this_machine_passes(config: Config) -> None:
    checks = {check.name: check for check in doctor.examine(config)}
    assert checks["TensorFlow"].state == "ok", checks["TensorFlow"].detail
    assert checks["encoder"].state == "ok", checks["encoder"].detail
    assert checks["Python"].detail.startswith(f"{sys.version_info[0]}.{sys.version_info[1]}")
