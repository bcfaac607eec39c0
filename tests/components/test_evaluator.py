"""The Evaluator on small exports."""

import gzip
import hashlib
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from components.code_digest import SOURCE_ROOT, import_closure
from components.evaluation import metrics
from components.evaluation.predictions import (
    ModelPredictions,
    predict,
    read_test_split,
    union_of_labels,
)
from components.evaluation.slices import in_slice, length_slice, slice_name
from components.evaluator import EvaluatorExecutor, make_evaluator
from components.infra_validator import ENTRY_MODULES as INFRA_VALIDATION
from modules.contract.errors import DataError, ModelError, UserError
from tests.components import exports
from tests.components.beam_arguments import BEAM_ARGUMENTS

DOMAINS = ("films", "food")


def rows(count: int = 120, seed: int = 0) -> list[tuple[str, str]]:
    """Return texts of 1 to 40 words, with the label's keyword more likely than the other one."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        label, other = draw.sample(sorted(exports.KEYWORDS), 2)
        words = ["word"] * draw.randint(1, 36)
        words += [exports.KEYWORDS[label]] * draw.randint(0, 3)
        words += [exports.KEYWORDS[other]] * draw.randint(0, 1)
        draw.shuffle(words)
        made.append((" ".join(words), label))
    return made


class Run:
    """One execution of the Evaluator, and its outputs."""

    def __init__(
        self,
        folder: Path,
        model: types.Artifact,
        baseline: types.Artifact | None,
        examples: types.Artifact,
        **values: Any,
    ) -> None:
        channel = types.Channel(type=standard_artifacts.Model)
        node = make_evaluator(
            examples=types.Channel(type=standard_artifacts.Examples),
            model=channel,
            baseline_model=channel,
            code_digest="",
            **values,
        )
        self.evaluation = standard_artifacts.ModelEvaluation()
        self.blessing = standard_artifacts.ModelBlessing()
        for name, artifact in (("evaluation", self.evaluation), ("blessing", self.blessing)):
            artifact.uri = str(folder / name)
            os.makedirs(artifact.uri)
        EvaluatorExecutor(BaseBeamExecutor.Context(beam_pipeline_args=list(BEAM_ARGUMENTS))).Do(
            {
                "examples": [examples],
                "model": [model],
                "baseline_model": [baseline] if baseline else [],
            },
            {"evaluation": [self.evaluation], "blessing": [self.blessing]},
            dict(node.exec_properties),
        )
        self.decision = json.loads(self.read("decision.json"))
        self.metrics = json.loads(self.read("metrics.json"))

    def read(self, name: str) -> str:
        return Path(self.evaluation.uri, name).read_text("utf-8")

    def predictions(self) -> list[dict[str, Any]]:
        packed = Path(self.evaluation.uri, "predictions.jsonl.gz").read_bytes()
        return [json.loads(line) for line in gzip.decompress(packed).splitlines()]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    return rows()


@pytest.fixture(scope="module")
def examples(
    tmp_path_factory: pytest.TempPathFactory, data: list[tuple[str, str]]
) -> types.Artifact:
    columns = {"domain": [DOMAINS[index % 2] for index in range(len(data))]}
    return exports.make_examples(tmp_path_factory.mktemp("examples"), data, columns)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> types.Artifact:
    return exports.make_model(tmp_path_factory.mktemp("good"), 11)


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> types.Artifact:
    """A model with few keywords, another order of labels, and a label that ``good`` lacks."""
    keywords = {"positive": "good", "neutral": "nothing", "negative": "nothing else"}
    return exports.make_model(tmp_path_factory.mktemp("poor"), 10, keywords=keywords)


@pytest.fixture(scope="module")
def better(
    tmp_path_factory: pytest.TempPathFactory,
    good: types.Artifact,
    poor: types.Artifact,
    examples: types.Artifact,
) -> Run:
    """Evaluate the good model with the poor one as the baseline."""
    floors = [
        {"metric": "accuracy", "min": 0.6, "slice": ""},
        {"metric": "accuracy", "min": 0.5, "slice": "domain=*"},
        {"metric": "f1", "min": 0.5, "slice": "label=*"},
    ]
    folder = tmp_path_factory.mktemp("better")
    return Run(folder, good, poor, examples, slice_columns=["domain"], floors=floors)


class TestBetterModel:
    def test_blessing_has_the_files_and_properties_of_tfx(self, better: Run) -> None:
        assert os.listdir(better.blessing.uri) == ["BLESSED"]
        assert better.blessing.get_int_custom_property("blessed") == 1
        assert better.blessing.get_int_custom_property("current_model_id") == 11
        assert better.blessing.get_int_custom_property("baseline_model_id") == 10

    def test_accuracy_matches_a_count_by_hand(
        self, better: Run, data: list[tuple[str, str]]
    ) -> None:
        right = 0
        for text, label in data:
            bad, fine = text.split().count("bad"), text.split().count("good")
            right += label == ("positive" if fine > bad else "negative")
        assert better.decision["candidate"] == pytest.approx(right / len(data))
        assert better.decision["examples"] == len(data)
        overall = better.metrics["models"]["candidate"]["slices"][""]
        assert overall["accuracy"] == pytest.approx(right / len(data))

    def test_every_example_is_in_one_slice_per_column(
        self, better: Run, data: list[tuple[str, str]]
    ) -> None:
        for model in ("candidate", "baseline"):
            by_slice = better.metrics["models"][model]["slices"]
            for column in ("label", "length", "domain"):
                counts = [s["examples"] for n, s in by_slice.items() if n.startswith(column + "=")]
                assert sum(counts) == len(data)
        assert {"length=0-16", "length=17-64"} <= set(by_slice)

    def test_slice_is_measured_on_its_own_examples(
        self, better: Run, data: list[tuple[str, str]]
    ) -> None:
        predictions = better.predictions()
        labels, answers = predictions[0]["labels"], predictions[1:]
        films = answers[0::2]
        right = [labels[int(np.argmax(answer["candidate"]))] == answer["label"] for answer in films]
        by_slice = better.metrics["models"]["candidate"]["slices"]
        assert by_slice["domain=films"]["accuracy"] == pytest.approx(np.mean(right))

    def test_auc_in_a_slice_of_one_class_is_null(self, better: Run) -> None:
        by_slice = better.metrics["models"]["candidate"]["slices"]
        assert by_slice["label=positive"]["auc"] is None
        assert by_slice[""]["auc"] > 0.5

    def test_confusion_matrix_matches_labels_and_accuracy(
        self, better: Run, data: list[tuple[str, str]]
    ) -> None:
        for model in ("candidate", "baseline"):
            matrix = np.array(better.metrics["models"][model]["confusion_matrix"])
            labels = better.metrics["labels"]
            truth = [sum(label == each for _, label in data) for each in labels]
            assert matrix.sum(axis=1).tolist() == truth
            value = matrix.diagonal().sum() / matrix.sum()
            assert value == pytest.approx(better.metrics["models"][model]["slices"][""]["accuracy"])

    def test_scores_are_aligned_to_the_labels_of_both_models(self, better: Run) -> None:
        assert better.metrics["labels"] == ["negative", "positive", "neutral"]
        first = better.predictions()[1]
        assert first["candidate"][2] == 0.0  # the good model does not know "neutral"
        assert sum(first["baseline"]) == pytest.approx(1.0, abs=1e-4)

    def test_predictions_file_has_no_text(self, better: Run, data: list[tuple[str, str]]) -> None:
        predictions = better.predictions()[1:]
        assert len(predictions) == len(data)
        text, label = data[0]
        assert predictions[0]["text_sha256"] == hashlib.sha256(text.encode()).hexdigest()
        assert predictions[0]["label"] == label
        assert set(predictions[0]) == {"text_sha256", "label", "candidate", "baseline"}

    def test_decision_is_written_as_json_and_markdown(self, better: Run) -> None:
        assert better.decision["blessed"] is True
        assert better.decision["difference"] > 0
        low, high = (better.decision["difference_interval"][end] for end in ("low", "high"))
        assert low <= better.decision["difference"] <= high
        assert better.decision["candidate_model"]["id"] == 11
        for sentence in better.decision["sentences"]:
            assert f"- {sentence}\n" in better.read("decision.md")

    def test_tfma_can_read_the_results(self, better: Run) -> None:
        import tensorflow_model_analysis as tfma

        result = tfma.load_eval_result(better.evaluation.uri, model_name="candidate")
        by_slice = {slice_key: values for slice_key, values in result.slicing_metrics}
        value = by_slice[()][""][""]["accuracy"]["doubleValue"]
        assert value == pytest.approx(better.decision["candidate"])
        assert "accuracy_diff" in by_slice[()][""][""]

        [(_, plots)] = [plot for plot in result.plots if plot[0] == ()]
        plot = plots[""][""]["multiClassConfusionMatrixAtThresholds"]["matrices"][0]["entries"]
        drawn = sum(cell["numWeightedExamples"] for cell in plot)
        assert drawn == better.decision["examples"]


class TestOtherRuns:
    def test_worse_model_is_rejected(
        self, tmp_path: Path, good: types.Artifact, poor: types.Artifact, examples: types.Artifact
    ) -> None:
        run = Run(tmp_path, poor, good, examples)
        assert os.listdir(run.blessing.uri) == ["NOT_BLESSED"]
        assert run.blessing.get_int_custom_property("blessed") == 0
        assert run.decision["difference"] < 0
        assert "not more than the margin" in run.decision["reasons"][-1]
        assert "rejected" in run.blessing.get_string_custom_property("outcome")

    def test_first_run_is_judged_by_floors_only(
        self, tmp_path: Path, good: types.Artifact, examples: types.Artifact
    ) -> None:
        run = Run(tmp_path, good, None, examples)
        assert run.decision["blessed"] is True
        assert run.decision["baseline"] is None
        assert run.decision["difference_interval"] is None
        assert not run.blessing.has_custom_property("baseline_model_id")
        assert "majority class" in run.decision["floors"][0]["floor"]
        assert set(run.metrics["models"]) == {"candidate"}

    @pytest.mark.slow
    def test_scores_that_are_not_finite_are_rejected(
        self, tmp_path: Path, examples: types.Artifact
    ) -> None:
        broken = exports.make_model(tmp_path / "model", 12, broken_word="bad")
        run = Run(tmp_path, broken, None, examples)
        assert run.decision["blessed"] is False
        assert "are not finite" in run.decision["reasons"][0]
        no_answer = np.array(run.metrics["models"]["candidate"]["confusion_matrix"])[:, -1]
        assert no_answer.sum() > 0

    @pytest.mark.slow
    def test_model_without_labels_of_the_test_split_is_rejected(
        self, tmp_path: Path, examples: types.Artifact
    ) -> None:
        alien = exports.make_model(tmp_path / "model", 12, keywords={"0": "bad", "1": "good"})
        run = Run(tmp_path, alien, None, examples)
        assert run.decision["blessed"] is False
        assert "none of its labels '0', '1' occurs" in run.decision["reasons"][0]

    @pytest.mark.slow
    def test_label_unknown_to_the_model_counts_as_wrong(self, tmp_path: Path) -> None:
        known = [("good word", "positive")] * 6 + [("bad word", "negative")] * 2
        examples = exports.make_examples(tmp_path / "e", [*known, ("good word", "neutral")])
        model = exports.make_model(tmp_path / "model", 12)
        run = Run(tmp_path, model, None, examples)
        assert run.decision["candidate"] == pytest.approx(8 / 9)
        assert run.decision["blessed"] is True
        assert "the candidate does not know the labels 'neutral'" in run.decision["notes"][0]


class TestTestSplit:
    def test_missing_column_values_are_empty_strings(self, examples: types.Artifact) -> None:
        split = read_test_split(os.path.join(examples.uri, "Split-test"), ["domain", "absent"])
        assert split.columns["domain"][:3] == ["films", "food", "films"]
        assert set(split.columns["absent"]) == {""}

    def test_empty_test_split_is_refused(self, tmp_path: Path) -> None:
        examples = exports.make_examples(tmp_path / "examples", [])
        with pytest.raises(DataError, match="Split-test has no examples"):
            read_test_split(os.path.join(examples.uri, "Split-test"), [])

    def test_missing_test_split_is_named_in_the_error(
        self, tmp_path: Path, good: types.Artifact, examples: types.Artifact
    ) -> None:
        other = standard_artifacts.Examples()
        other.uri, other.split_names = examples.uri, json.dumps(["train", "eval"])
        with pytest.raises(DataError, match="needs a split named 'test'"):
            Run(tmp_path, good, None, other)

    def test_equal_test_splits_have_equal_digests(self, examples: types.Artifact) -> None:
        uri = os.path.join(examples.uri, "Split-test")
        assert read_test_split(uri, []).digest() == read_test_split(uri, ["domain"]).digest()


class TestPredict:
    def test_predictions_keep_the_order_of_the_examples(
        self, good: types.Artifact, examples: types.Artifact
    ) -> None:
        split = read_test_split(os.path.join(examples.uri, "Split-test"), [])
        export = os.path.join(good.uri, "Format-Serving")
        prediction = predict(export, split)
        signature = tf.saved_model.load(export).signatures["serving_default"]
        expected = signature(text=tf.constant(split.texts))["scores"].numpy()
        np.testing.assert_allclose(prediction.scores, expected, atol=1e-6)
        assert prediction.problems == ()

    def test_labels_and_scores_must_agree(self, tmp_path: Path, examples: types.Artifact) -> None:
        export = exports.write_export(tmp_path / "export")
        labels = Path(export, "assets.extra", "labels.txt")
        split = read_test_split(os.path.join(examples.uri, "Split-test"), [])
        labels.write_text("positive\nnegative\n")
        assert "not the one with the best score" in predict(export, split).problems[0]
        labels.write_text("negative\n")
        with pytest.raises(ModelError, match="must agree"):
            predict(export, split)
        labels.unlink()
        with pytest.raises(ModelError, match="must list its labels"):
            predict(export, split)

    def test_infinite_score_counts_as_no_answer(self) -> None:
        scores = np.array([[np.inf, 0.0], [0.3, 0.7]], np.float32)
        answers = ModelPredictions(("a", "b"), scores).align(["b", "a"], np.array([0, 0]))
        assert answers.predicted.tolist() == [metrics.NO_ANSWER, 0]

    def test_union_of_labels_keeps_the_candidates_order(self) -> None:
        empty = np.zeros((0, 2), np.float32)
        ours, theirs = ModelPredictions(("b", "a"), empty), ModelPredictions(("a", "c"), empty)
        assert union_of_labels(ours, theirs, ["e", "d", "a"]) == ["b", "a", "c", "d", "e"]


class TestSlices:
    @pytest.mark.parametrize(
        ("words", "name"), [(0, "0-16"), (16, "0-16"), (17, "17-64"), (64, "17-64"), (65, "65+")]
    )
    def test_length_slice_has_inclusive_bounds(self, words: int, name: str) -> None:
        assert length_slice(" word" * words, [16, 64]) == name

    def test_without_bounds_there_is_one_length_slice(self) -> None:
        assert length_slice("one two", []) == "0+"

    def test_slice_names_match_floors(self) -> None:
        assert slice_name({}) == ""
        assert slice_name({"domain": "films"}) == "domain=films"
        assert in_slice("domain=films", "domain", "*")
        assert not in_slice("domains=films", "domain", "*")
        assert not in_slice("domain=films", "domain", "film")


def test_slice_columns_must_be_in_the_schema(
    tmp_path: Path, good: types.Artifact, examples: types.Artifact
) -> None:
    schema = standard_artifacts.Schema()
    schema.uri = str(tmp_path)
    (tmp_path / "schema.pbtxt").write_text('feature { name: "domain" } feature { name: "text" }')
    channel = types.Channel(type=standard_artifacts.Model)
    node = make_evaluator(
        examples=types.Channel(type=standard_artifacts.Examples),
        model=channel,
        baseline_model=None,
        slice_columns=["genre"],
        code_digest="",
    )
    with pytest.raises(UserError, match="which has 'domain', 'text'; got 'genre'"):
        EvaluatorExecutor().Do(
            {"examples": [examples], "model": [good], "schema": [schema]},
            {},
            dict(node.exec_properties),
        )


@pytest.mark.parametrize(
    ("entries", "reached"),
    [
        (["components.evaluator"], "components/evaluation/tfma_metrics.py"),
        (INFRA_VALIDATION, "components/infra_validation/embedded_server.py"),
        (INFRA_VALIDATION, "serving/server/worker/worker.py"),
        (["components.pusher"], "components/publishing/remote.py"),
    ],
)
def test_digest_covers_modules_that_are_started_by_name(
    entries: Sequence[str], reached: str
) -> None:
    assert SOURCE_ROOT / reached in import_closure(*entries)


def test_missing_files_of_the_baseline_are_named_in_the_error(
    tmp_path: Path, good: types.Artifact, examples: types.Artifact
) -> None:
    gone = standard_artifacts.Model()
    gone.uri = str(tmp_path / "gone")
    with pytest.raises(UserError, match="does not exist: "):
        Run(tmp_path, good, gone, examples)


@pytest.mark.slow  # TFMA's own metrics are slow
def test_metrics_equal_those_of_tfma(tmp_path: Path) -> None:
    """Compare accuracy and the AUC of each class with those of TFMA."""
    import apache_beam as beam
    import tensorflow_model_analysis as tfma

    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, 150)
    raw = draw.normal(size=(150, 3))
    raw[np.arange(150), true] += 1
    scores = (np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)).astype(np.float32)
    classes = tfma.BinarizationOptions(class_ids={"values": [0, 1, 2]})
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key="label", prediction_key="scores")],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[
            tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name="SparseCategoricalAccuracy")]),
            tfma.MetricsSpec(binarize=classes, metrics=[tfma.MetricConfig(class_name="AUC")]),
        ],
    )
    batch = {tfma.FEATURES_KEY: {"label": true[:, None], "scores": scores}}
    with beam.Pipeline(argv=list(BEAM_ARGUMENTS)) as pipeline:
        _ = (
            pipeline
            | beam.Create([batch], reshuffle=False)
            | tfma.ExtractEvaluateAndWriteResults(eval_config=config, output_path=str(tmp_path))
        )
    evaluated = tfma.load_eval_result(str(tmp_path))
    [(_, by_output)] = evaluated.slicing_metrics
    theirs = by_output[""]
    ours = metrics.ScoredExamples(true, scores)
    accuracy = theirs[""]["sparse_categorical_accuracy"]["doubleValue"]
    assert metrics.point_values(ours)["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    for index, value in enumerate(metrics.class_values(ours)["auc"]):
        # TFMA approximates the AUC with 10,000 thresholds.
        expected = theirs[f"classId:{index}"]["auc"]["doubleValue"]
        assert value == pytest.approx(expected, abs=1e-3)
