import dataclasses
from pathlib import Path

from components.evaluation.decision import Decision
from components.evaluation.slices import SliceMetrics
from pipeline.config import Config
from runners.lineage.evaluation import read_evaluation, read_push
from runners.lineage.records import MetricRow
from runners.lineage.runs import read_run


def test_evaluation_has_decision_and_metrics(config: Config, add_run) -> None:
    add_run("a")
    evaluation = read_evaluation(read_run(config))
    assert evaluation is not None
    assert (evaluation.metric, evaluation.candidate, evaluation.blessed) == ("accuracy", 0.9, True)
    assert evaluation.sentences[-1] == "The candidate is blessed."
    assert evaluation.overall() == [
        MetricRow("", "accuracy", 100, 0.9, 0.85),
        MetricRow("", "auc", 100, None, None),
    ]
    assert evaluation.by_slice() == [
        MetricRow("", "accuracy", 100, 0.9, 0.85),
        MetricRow("label=neg", "accuracy", 50, 0.8, None),
    ]
    assert round(evaluation.overall()[0].change or 0, 6) == 0.05
    assert evaluation.overall()[1].change is None


def test_run_without_evaluator_has_no_evaluation_and_no_push(config: Config, metadata) -> None:
    metadata.add_node("a", "Trainer")
    run = read_run(config)
    assert read_evaluation(run) is None
    assert read_push(run) is None


def test_missing_or_damaged_files_read_as_empty(config: Config, metadata, tmp_path: Path) -> None:
    (tmp_path / "decision.json").write_text('{"blessed": tr')
    outputs = {"evaluation": ("ModelEvaluation", str(tmp_path), {})}
    metadata.add_node("a", "Evaluator", outputs=outputs)
    evaluation = read_evaluation(read_run(config))
    assert evaluation is not None
    assert (evaluation.decision, evaluation.metrics) == ({}, {})
    assert evaluation.blessed is None
    assert evaluation.overall() == []


def test_push_has_version_and_directory(config: Config, add_run) -> None:
    add_run("a", version="3")
    push = read_push(read_run(config))
    assert push is not None
    assert (push.pushed, push.version, push.cached) == (True, "3", False)
    assert push.directory == f"{config.push_directory()}/3"


def test_cached_push_is_marked_as_cached(config: Config, add_run) -> None:
    add_run("a", version="3", pusher="CACHED")
    push = read_push(read_run(config))
    assert push is not None
    assert (push.pushed, push.cached) == (True, True)


def test_rejected_model_is_not_pushed(config: Config, add_run) -> None:
    add_run("a", blessed=False)
    push = read_push(read_run(config))
    assert push is not None
    assert (push.pushed, push.version, push.directory) == (False, "", "")


def test_failed_push_is_none(config: Config, metadata) -> None:
    outputs = {"pushed_model": ("PushedModel", "/p", {"pushed": 1})}
    metadata.add_node("a", "Pusher", state="FAILED", outputs=outputs)
    assert read_push(read_run(config)) is None


def test_evaluator_writes_the_names_that_are_read() -> None:
    written = {field.name for field in dataclasses.fields(Decision)}
    assert {"metric", "candidate", "blessed"} <= written
    assert {"examples", "values"} <= {field.name for field in dataclasses.fields(SliceMetrics)}
