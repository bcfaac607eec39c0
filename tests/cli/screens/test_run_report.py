import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from cli.screens.run_report import next_commands, print_result, print_run, print_runs
from pipeline.config import Config
from runners.lineage.run_report import read_report, read_reports


def printed(config: Config) -> str:
    output = io.StringIO()
    print_result(Console(file=output, width=200, markup=False), read_report(config), slices=False)
    return output.getvalue()


def test_result_shows_metrics_decision_and_folder(config: Config, add_run) -> None:
    add_run("a", version="2")
    text = printed(config)
    assert ["accuracy", "100", "0.9000", "0.8500", "+0.0500"] in map(str.split, text.splitlines())
    assert "Compared on 100 test examples.\nThe candidate is blessed.\n" in text
    assert f"Pushed as version 2: {config.push_directory()}/2" in text


def test_rejected_model_is_not_pushed(config: Config, add_run) -> None:
    add_run("a", blessed=False)
    assert "rejected: too bad.\nNot pushed: the candidate is rejected.\n" in printed(config)


def test_cached_rerun_is_up_to_date(config: Config, add_run) -> None:
    add_run("a", version="2", pusher="CACHED")
    assert "Not pushed again: version 2 is up to date, " in printed(config)


def test_failed_run_shows_its_error(config: Config, metadata) -> None:
    metadata.add_node("a", "Trainer", state="FAILED", error="no [memory]")
    assert printed(config) == "Trainer failed: no [memory]\n"


def test_quarantined_rows_are_reported(config: Config, metadata) -> None:
    properties = {
        "examples": 97,
        "quarantined": 3,
        "quarantine_reasons": '{"empty text": 2, "not UTF-8": 1}',
    }
    metadata.add_node("a", "ExampleGen", outputs={"examples": ("Examples", "/e", properties)})
    assert "3 of 100 rows are quarantined (empty text 2, not UTF-8 1): /e/" in printed(config)


def test_use_of_feedback_is_reported(config: Config, metadata) -> None:
    properties = {
        "examples": 96,
        "quarantined": 1,
        "quarantine_reasons": '{"empty_text": 1}',
        "feedback_spans": "[1, 2]",
        "feedback_counts": '{"added": 6, "relabelled": 2, "held_out": 1}',
    }
    metadata.add_node("a", "ExampleGen", outputs={"examples": ("Examples", "/e", properties)})
    text = printed(config)
    assert (
        "9 rows of feedback (2 spans): 6 added, 2 corrected the data, 1 not applied to the test "
        "split\n"
    ) in text
    assert "1 of 100 rows are quarantined" in text


def test_runs_are_listed_newest_first(
    config: Config, add_run, capsys: pytest.CaptureFixture[str]
) -> None:
    add_run("a", version="1")
    add_run("b", blessed=False)
    print_runs(read_reports(config, last=10), as_json=False)
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["run", "started", "state", "metric", "decision", "time"]
    assert first.split()[0] == "b"
    assert "accuracy 0.9000" in first
    assert "rejected" in first
    assert "version 1 pushed" in second


def test_runs_as_json_are_limited_to_the_last(
    config: Config, add_run, capsys: pytest.CaptureFixture[str]
) -> None:
    for run_id in ("a", "b", "c"):
        add_run(run_id)
    print_runs(read_reports(config, last=2), as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["run_id"] for row in rows] == ["c", "b"]
    assert rows[0]["value"] == 0.9
    assert rows[0]["decision"] == "version 1 pushed"


def test_show_prints_slices_and_artifacts(
    config: Config, add_run, capsys: pytest.CaptureFixture[str]
) -> None:
    add_run("a")
    print_run(read_report(config, None), as_json=False)
    out = capsys.readouterr().out
    assert out.startswith("run a, ")
    assert "label=neg" in out
    assert "Trainer.model: /m/a" in out


def test_show_as_json_contains_decision_and_nodes(
    config: Config, add_run, capsys: pytest.CaptureFixture[str]
) -> None:
    add_run("a")
    print_run(read_report(config, "a"), as_json=True)
    record = json.loads(capsys.readouterr().out)
    assert record["decision_record"]["baseline"] == 0.85
    assert record["nodes"][1]["outputs"]["model"][0]["uri"] == "/m/a"


@pytest.mark.parametrize(
    ("served_directory", "commands"),
    [
        ("/m/bert", ["bert serve", 'bert predict "A text to classify."']),
        (None, ["bert show", "bert runs"]),
    ],
)
def test_next_commands(served_directory, commands: list[str]) -> None:
    given = next_commands(None, [], served_directory=served_directory)
    assert given == commands


def test_next_commands_look_where_the_run_was() -> None:
    assignments = ["trainer.epochs=1", "pipeline.root=/tmp/a b"]
    [command, _] = next_commands("my.toml", assignments, served_directory=None)
    assert command == "bert show --config my.toml --set 'pipeline.root=/tmp/a b'"


def test_trials_are_shown_best_first(
    config: Config, metadata, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [
        {
            "trial_id": "1",
            "score": 0.91,
            "learning_rate": 1.23456e-5,
            "batch_size": 32,
            "tuner/round": 1,
        },
        {"trial_id": "0", "score": 0.9, "learning_rate": 1e-4, "batch_size": 16},
    ]
    (tmp_path / "tuner_results.json").write_text(json.dumps(trials))
    outputs = {"tuner_results": ("TunerResults", str(tmp_path), {})}
    metadata.add_node("a", "Tuner", outputs=outputs)
    best = "Tuner: 2 trials, the best scores 0.9100 with batch_size 32, learning_rate 1.235e-05\n"
    assert printed(config) == f"\n{best}"
    print_run(read_report(config, None), as_json=False)
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    at = shown.index(["score", "batch_size", "learning_rate"])
    assert shown[at + 1 : at + 3] == [["0.9100", "32", "1.235e-05"], ["0.9000", "16", "0.0001"]]
