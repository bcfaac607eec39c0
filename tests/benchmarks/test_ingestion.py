"""The benchmark of ExampleGen runs and compares its outputs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_benchmark_measures_with_and_without_the_cache() -> None:
    command = [sys.executable, "-m", "benchmarks.ingestion", "data/sample/reviews.csv"]
    command += ["--repeats", "1", "--spans", "1", "--rows", "20"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    found = json.loads(result.stdout.splitlines()[-1])
    assert all(len(found["seconds"][kind]) == 1 for kind in ("first", "with", "without"))
    assert found["without over with"].keys() == {"seconds", "cpu seconds"}
