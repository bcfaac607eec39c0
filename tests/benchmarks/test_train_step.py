"""The training-step benchmark runs and counts FLOPs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.train_step import useful_flops
from tests.tiny_bert import write_tiny_bert

ROOT = Path(__file__).parents[2]


def test_useful_flops_exclude_padding_and_count_attention_quadratically() -> None:
    dense = 2 * (4 * 8 * 8 + 2 * 8 * 32)
    assert useful_flops([1], layers=1, hidden=8, intermediate=32) == 3 * (dense + 4 * 8)
    assert useful_flops([10], 2, 8, 32) == 3 * 2 * (10 * dense + 4 * 100 * 8)
    assert useful_flops([10, 1], 2, 8, 32) == useful_flops([10], 2, 8, 32) + useful_flops(
        [1], 2, 8, 32
    )


@pytest.mark.slow
def test_benchmark_measures_only_our_side(tmp_path: Path) -> None:
    write_tiny_bert(tmp_path / "bert")
    command = [sys.executable, "-m", "benchmarks.train_step", "--encoder", str(tmp_path / "bert")]
    command += ["--rounds", "2", "--steps", "2", "--json", str(tmp_path / "results")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    (line,) = (tmp_path / "results").read_text().splitlines()
    numbers = json.loads(line)
    assert numbers["rounds"] == 2
    assert numbers["ours"]["examples_per_second"] > 0
    assert 0 < numbers["gflops_by_cpu_time"]["share"] < 1
