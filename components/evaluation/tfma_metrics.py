"""The project's metrics as one TensorFlow Model Analysis metric.

TFMA computes per-class AUC, precision and recall by binarising each class separately: with 20
classes, two models and four slices per example, 1,500 examples take over a minute. This metric
collects the scores of a slice and measures them at once, and leaves to TFMA what it does well:
slicing, distribution, differences from the baseline, and result files.

TFMA's ``MultiClassConfusionMatrixPlot`` converts one-element arrays to numbers, which NumPy 2.4
refuses, so this module also creates that plot.
"""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from components.evaluation.metrics import (
    NO_ANSWER,
    ScoredExamples,
    class_values,
    confusion_matrix,
    point_values,
)
from components.evaluation.settings import CLASS_METRICS, SLICE_METRICS

#: True class and scores of each example of a slice.
_Accumulator = list[tuple[int, np.ndarray]]


#: TFMA's own name of the plot, so that its viewer displays it.
CONFUSION_MATRIX_PLOT = "multi_class_confusion_matrix_plot"


class ClassificationMetrics(tfma.metrics.Metric):
    """TFMA metric that yields ``SLICE_METRICS`` and, for each class, ``CLASS_METRICS``.

    Labels are class indices; predictions are scores, all zero if there is no answer.
    """

    def __init__(self, num_classes: int, name: str = "classification_metrics") -> None:
        """Create the metric; TFMA passes the ``config`` of the ``MetricConfig``.

        Args:
            num_classes: number of classes of the scores.
            name: name of the metric, unused: each value has its own.
        """
        super().__init__(
            tfma.metrics.merge_per_key_computations(_computations),
            num_classes=num_classes,
            name=name,
        )


def _computations(
    num_classes: int, name: str, eval_config: Any = None, model_name: str = ""
) -> list[tfma.metrics.MetricComputation]:
    del name  # each key has its own
    keys = [
        *(_key(model_name, name) for name in SLICE_METRICS),
        *(_key(model_name, name, i) for i in range(num_classes) for name in CLASS_METRICS),
        tfma.metrics.PlotKey(name=CONFUSION_MATRIX_PLOT, model_name=model_name),
    ]
    combiner = _Combiner(eval_config, model_name)
    return [tfma.metrics.MetricComputation(keys=keys, preprocessors=None, combiner=combiner)]


class _Combiner(beam.CombineFn):
    """Combiner that collects a slice's answers and measures them together."""

    def __init__(self, eval_config: Any, model_name: str) -> None:
        self._eval_config = eval_config
        self._model_name = model_name

    def create_accumulator(self) -> _Accumulator:
        return []

    def add_input(self, accumulator: _Accumulator, element: Any) -> _Accumulator:
        label, scores, _ = next(
            tfma.metrics.to_label_prediction_example_weight(
                element,
                eval_config=self._eval_config,
                model_name=self._model_name,
                flatten=False,
            )
        )
        accumulator.append((int(label.ravel()[0]), scores.astype(np.float32)))
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[_Accumulator]) -> _Accumulator:
        return [answer for accumulator in accumulators for answer in accumulator]

    def extract_output(self, accumulator: _Accumulator) -> dict[tfma.metrics.MetricKey, Any]:
        true = np.array([index for index, _ in accumulator], np.int64)
        answers = ScoredExamples(true, np.stack([scores for _, scores in accumulator]))
        result: dict[tfma.metrics.MetricKey, Any] = {}
        for name, value in point_values(answers).items():
            result[_key(self._model_name, name)] = value
        for name, values in class_values(answers).items():
            for index, each in enumerate(values.tolist()):
                result[_key(self._model_name, name, index)] = each
        plot = tfma.metrics.PlotKey(name=CONFUSION_MATRIX_PLOT, model_name=self._model_name)
        result[plot] = _plot(answers)
        return result


def _key(model_name: str, name: str, class_index: int | None = None) -> tfma.metrics.MetricKey:
    sub_key = None if class_index is None else tfma.metrics.SubKey(class_id=class_index)
    return tfma.metrics.MetricKey(name=name, model_name=model_name, sub_key=sub_key)


def _plot(answers: ScoredExamples) -> metrics_for_slice_pb2.MultiClassConfusionMatrixAtThresholds:
    plot = metrics_for_slice_pb2.MultiClassConfusionMatrixAtThresholds()
    matrix = plot.matrices.add(threshold=0.0)
    cells = confusion_matrix(answers)
    for true, predicted in zip(*np.nonzero(cells), strict=True):
        matrix.entries.add(
            actual_class_id=int(true),
            predicted_class_id=NO_ANSWER if predicted == answers.num_classes else int(predicted),
            num_weighted_examples=float(cells[true, predicted]),
        )
    return plot
