"""Comparison of two models: aligns their answers to one list of labels and decides."""

from collections.abc import Mapping

import numpy as np

from components.evaluation import analysis, bootstrap, metrics, slices
from components.evaluation.decision import Decision, decide
from components.evaluation.predictions import ModelPredictions, TestSplit, union_of_labels
from components.evaluation.settings import EvaluatorSettings
from components.evaluation.slices import MetricsTable, listed


class Comparable:
    """Both models' answers over one list of labels.

    Attributes:
        labels: every label that a model or the test split knows.
        answers: model name -> answers over ``labels``.
        columns: slice column -> value of each example.
    """

    def __init__(
        self,
        settings: EvaluatorSettings,
        test: TestSplit,
        predictions: Mapping[str, ModelPredictions],
    ) -> None:
        """Align the predictions.

        Args:
            settings: settings of the Evaluator.
            test: the test examples.
            predictions: predictions by model name: ``analysis.CANDIDATE`` and, if there is one,
                ``analysis.BASELINE``.
        """
        self._settings = settings
        self._test = test
        self._candidate = predictions[analysis.CANDIDATE]
        self._baseline = predictions.get(analysis.BASELINE)
        self.labels = union_of_labels(self._candidate, self._baseline, test.labels)
        position = {label: index for index, label in enumerate(self.labels)}
        true = np.array([position[label] for label in test.labels], np.int64)
        self.answers = {name: p.align(self.labels, true) for name, p in predictions.items()}
        lengths = [slices.length_slice(text, settings.length_slices) for text in test.texts]
        known = {"label": test.labels, "length": lengths, **test.columns}
        self.columns = {column: known[column] for column in settings.columns}

    def decide(self, table: MetricsTable) -> Decision:
        """Compare the models and decide whether to bless the candidate.

        Args:
            table: TFMA's metrics of each model and slice.
        """
        settings = self._settings
        candidate = self.answers[analysis.CANDIDATE]
        comparison = bootstrap.compare(
            settings.metric,
            candidate,
            self.answers.get(analysis.BASELINE),
            samples=settings.bootstrap_samples,
            confidence=settings.confidence,
            seed=settings.seed,
        )
        constant = metrics.constant_answers(candidate.true, len(self.labels))
        return decide(
            settings,
            candidate=table[analysis.CANDIDATE],
            baseline=table.get(analysis.BASELINE),
            comparison=comparison,
            chance=metrics.point_values(constant)[settings.metric],
            problems=self._problems(),
            notes=self._notes(),
        )

    def _problems(self) -> list[str]:
        problems = list(self._candidate.problems)
        if not set(self._candidate.labels) & set(self._test.labels):
            problems.append(
                f"none of its labels {listed(self._candidate.labels)} occurs in the test split, "
                f"which has {listed(sorted(set(self._test.labels)))}"
            )
        return problems

    def _notes(self) -> list[str]:
        notes = []
        for name, prediction in (("candidate", self._candidate), ("baseline", self._baseline)):
            unknown = sorted(set(self._test.labels) - set(prediction.labels)) if prediction else []
            if unknown:
                count = sum(label in set(unknown) for label in self._test.labels)
                notes.append(
                    f"the {name} does not know the labels {listed(unknown)}: the {count} test "
                    "examples with these labels count as wrong"
                )
        if self._baseline:
            notes.extend(f"for the baseline, {problem}" for problem in self._baseline.problems)
        return notes
