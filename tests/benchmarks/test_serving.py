"""The serving benchmark runs, with new texts in each round."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import serving
from tests.tiny_bert import write_tiny_bert

ROOT = Path(__file__).parents[2]


def test_texts_are_not_repeated_while_others_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BERT_REAL_DATA", raising=False)
    rounds = serving._take_texts(long=False, size=8, batches=3, rounds=5)
    assert [[len(batch) for batch in batches] for batches in rounds] == [[8, 8, 8]] * 5
    texts = [text for batches in rounds for batch in batches for text in batch]
    assert len(set(texts)) == len(texts)


@pytest.mark.slow
def test_benchmark_measures_only_our_sides(tmp_path: Path) -> None:
    write_tiny_bert(tmp_path / "bert")
    command = [sys.executable, "-m", "benchmarks.serving", "--encoder", str(tmp_path / "bert")]
    command += ["--rounds", "2", "--json", str(tmp_path / "results")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    (line,) = (tmp_path / "results").read_text().splitlines()
    mixes = json.loads(line)["mixes"]
    assert set(mixes) == set(serving.MIXES)
    for mix in mixes.values():
        assert set(mix["sides"]) == set(serving.OURS)
        assert all(0 < side["share_of_gemm_peak"] < 1 for side in mix["sides"].values())
