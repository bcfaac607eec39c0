"""Output and exit codes of ``bert drift``."""

import dataclasses
import json
from pathlib import Path

import pytest

import runners.freshness.monitoring
from cli.main import main
from serving.monitoring.check import DriftReport, check
from serving.monitoring.quality import QualityReport
from tests.serving.monitoring.made_descriptions import LABELS, describe_made

QUALITY = QualityReport(
    model_version=3,
    n=40,
    accuracy=0.75,
    interval=(0.6, 0.86),
    macro_f1=0.7,
    macro_f1_interval=(0.5, 0.8),
    evaluation_accuracy=0.9,
    estimated_accuracy=0.82,
    estimated_interval=(0.8, 0.84),
    estimated_from=500,
    confidence=0.95,
    window_start=0.0,
    window_end=3600.0,
)


def call(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    report: DriftReport | None,
    *options: str,
    quality: QualityReport = QUALITY,
) -> int:
    monkeypatch.setattr(runners.freshness.monitoring, "drift_report", lambda *_: report)
    monkeypatch.setattr(runners.freshness.monitoring, "quality_report", lambda *_: quality)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(["drift", *options])
    return int(exit_.value.code or 0)


def make_report(*, drifted: bool) -> DriftReport:
    window = describe_made(200, 2)
    if drifted:
        window = describe_made(200, 2, characters=window.characters // 5)
    return check(describe_made(400, 1), window, LABELS, false_alarm_rate=0.01)


def test_drift_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, tmp_path, make_report(drifted=True)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "version 3, traffic from 1970-01-01 00:00 to 1970-01-01 01:00 UTC"
    [length] = [line for line in lines if line.startswith("length")]
    assert length.split()[-1] == "yes"
    assert "<0.0001" in length
    [sentence] = [line for line in lines if line.startswith("! ")]
    assert "the length of texts drifted: median" in sentence
    assert any(
        line.startswith("Drift detected: 200 different texts against 400 held-out ones")
        for line in lines
    )


def test_no_drift_exits_with_0_and_prints_the_accuracy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, tmp_path, make_report(drifted=False)) == 0
    output = capsys.readouterr().out
    assert "No drift detected" in output
    assert "accuracy 0.7500 (95% interval 0.6000 to 0.8600), macro F1 0.7000" in output
    assert "on 40 predictions with feedback" in output
    assert "accuracy 0.8200 (95% interval 0.8000 to 0.8400) is estimated" in output
    assert "accuracy 0.9000 on the test split" in output


def test_too_little_traffic_exits_with_3_and_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = dataclasses.replace(
        QUALITY,
        n=0,
        accuracy=None,
        macro_f1=None,
        estimated_accuracy=None,
        notes=("no feedback on recent predictions",),
    )
    assert call(monkeypatch, tmp_path, None, quality=nothing) == 3
    output = capsys.readouterr().out
    assert "fewer than 200 different texts" in output
    assert output.endswith("no feedback on recent predictions\n")
    assert "is estimated" not in output


@pytest.mark.parametrize(("drifted", "code"), [(True, 1), (False, 0), (None, 3)])
def test_json_contains_both_reports(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    drifted: bool | None,
    code: int,
) -> None:
    report = None if drifted is None else make_report(drifted=drifted)
    assert call(monkeypatch, tmp_path, report, "--json") == code
    record = json.loads(capsys.readouterr().out)
    assert record["raised"] is drifted
    assert record["quality"]["accuracy"] == 0.75
    if report is not None:
        assert [test["name"] for test in record["drift"]["tests"]] == [
            test.name for test in report.tests
        ]
