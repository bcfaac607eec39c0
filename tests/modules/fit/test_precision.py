"""The precision that "auto" selects on different machines."""

from pathlib import Path

import pytest

from modules.fit import precision
from modules.fit.precision import resolve_precision


def _processor(folder: Path, flags: str) -> Path:
    path = folder / "cpuinfo"
    path.write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse\n")
    return path


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("avx2", "float32"),
        ("avx512f avx512_bf16", "mixed_bfloat16"),
        ("amx_bf16 amx_tile", "mixed_bfloat16"),
    ],
)
def test_auto_on_a_cpu_depends_on_its_instruction_sets(
    tmp_path: Path, flags: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_gpu_capabilities", list)
    assert resolve_precision("auto", _processor(tmp_path, flags)) == expected


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [([(9, 0)], "mixed_bfloat16"), ([(7, 5)], "float32"), ([(9, 0), (7, 0)], "float32")],
)
def test_auto_on_gpus_depends_on_the_oldest(
    tmp_path: Path,
    capabilities: list[tuple[int, int]],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "_gpu_capabilities", lambda: capabilities)
    assert resolve_precision("auto", _processor(tmp_path, "avx512_bf16")) == expected


def test_auto_on_unknown_hardware_is_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_gpu_capabilities", list)
    assert resolve_precision("auto", tmp_path / "absent") == "float32"


def test_explicit_precision_is_kept() -> None:
    assert resolve_precision("mixed_float16") == "mixed_float16"
