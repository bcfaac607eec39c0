"""The test split and a model's predictions on it. Imports TensorFlow but not TFMA."""

import dataclasses
import hashlib
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from components.evaluation.metrics import FloatArray, ScoredExamples
from modules.contract import features, pushed_model
from modules.contract.errors import DataError, ModelError

BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class TestSplit:
    """The raw test examples, in file order.

    Attributes:
        serialized: tf.Example bytes of each example.
        texts: raw text of each example.
        labels: true label of each example.
        columns: slice column -> value of each example; "" if the example has none.
    """

    __test__ = False  # the name makes pytest collect it

    serialized: list[bytes]
    texts: list[str]
    labels: list[str]
    columns: dict[str, list[str]]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.serialized)

    def text_digests(self) -> list[str]:
        """Return the SHA-256 of each text, which identifies an example without revealing it."""
        return [hashlib.sha256(text.encode()).hexdigest() for text in self.texts]

    def digest(self) -> str:
        """Return the SHA-256 over texts and labels; equal digests mean the same test split."""
        lines = (
            f"{text} {label}" for text, label in zip(self.text_digests(), self.labels, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class ModelPredictions:
    """Predictions of one model.

    Attributes:
        labels: the model's own labels, in the order of its scores.
        scores: float32[examples, labels].
        problems: one sentence for each reason not to trust the answers.
    """

    labels: tuple[str, ...]
    scores: FloatArray
    problems: tuple[str, ...] = ()

    def align(self, labels: Sequence[str], true: np.ndarray) -> ScoredExamples:
        """Return the scores over another list of labels, ready to be measured.

        Args:
            labels: a superset of this model's labels; a label that the model does not know scores
                0, so an example of that class counts as wrong.
            true: int64[examples], index into ``labels`` of the true label.
        """
        position = {label: index for index, label in enumerate(labels)}
        scores = np.zeros((len(self.scores), len(labels)), np.float32)
        scores[:, [position[label] for label in self.labels]] = self.scores
        # One NaN invalidates the whole answer; all zeros count as no answer.
        scores[~np.isfinite(scores).all(axis=1)] = 0.0
        return ScoredExamples(true, scores)


def read_test_split(uri: str, columns: Sequence[str]) -> TestSplit:
    """Read the gzip TFRecords under ``uri``.

    Args:
        uri: folder of the split.
        columns: slice columns to read in addition to text and label.

    Raises:
        DataError: the split has no examples.
    """
    files = sorted(tf.io.gfile.glob(os.path.join(uri, "*")))
    records: list[bytes] = []
    if files:
        dataset = tf.data.TFRecordDataset(files, compression_type="GZIP")
        records = list(dataset.as_numpy_iterator())
    if not records:
        raise DataError(
            f"the test split in {uri} has no examples, so no model can be evaluated; add rows, or "
            "raise its share with `--set data.split.test=2`"
        )
    texts, labels = [], []
    values: dict[str, list[str]] = {column: [] for column in columns}
    for record in records:
        feature = tf.train.Example.FromString(record).features.feature
        texts.append(_first(feature, features.TEXT))
        labels.append(_first(feature, features.LABEL))
        for column in columns:
            values[column].append(_first(feature, column))
    return TestSplit(records, texts, labels, values)


def predict(model_directory: str, test: TestSplit) -> ModelPredictions:
    """Predict every example through the export's ``serving_examples`` signature.

    Texts of similar length share a batch, because a batch is padded to its longest text.

    Args:
        model_directory: a SavedModel with ``assets.extra/labels.txt``.
        test: the examples.

    Raises:
        ModelError: the export lacks the signature or its labels, or scores another number of
            classes than it has labels.
    """
    import tensorflow_text  # noqa: F401 - registers the tokeniser's ops

    labels = _read_labels(model_directory)
    # Keep a reference: a signature does not keep the model's variables alive.
    model = tf.saved_model.load(model_directory)
    if features.SERVING_EXAMPLES not in model.signatures:
        raise ModelError(
            f"the export must have the signature {features.SERVING_EXAMPLES!r}; it has "
            f"{sorted(model.signatures)} in {model_directory}; train again"
        )
    answer = model.signatures[features.SERVING_EXAMPLES]
    order = np.argsort([len(text) for text in test.texts], kind="stable")
    scores, named = [], []
    for start in range(0, len(order), BATCH_SIZE):
        batch = [test.serialized[index] for index in order[start : start + BATCH_SIZE]]
        outputs = answer(**{features.EXAMPLES_INPUT: tf.constant(batch)})
        scores.append(outputs[features.SCORES].numpy())
        named.extend(outputs[features.PREDICTED_LABEL].numpy().ravel().tolist())
    back = np.argsort(order, kind="stable")
    return _check(
        labels,
        np.concatenate(scores).astype(np.float32)[back],
        [named[index].decode() for index in back],
    )


def union_of_labels(
    candidate: ModelPredictions, baseline: ModelPredictions | None, true: Sequence[str]
) -> list[str]:
    """Return every label of a model or the test split, the candidate's first, in its order."""
    others = baseline.labels if baseline else ()
    return list(dict.fromkeys([*candidate.labels, *others, *sorted(set(true))]))


def _check(labels: tuple[str, ...], scores: FloatArray, named: list[str]) -> ModelPredictions:
    problems = []
    if scores.ndim != 2 or scores.shape[1] != len(labels):
        raise ModelError(
            f"the export scores {scores.shape[1:]} classes but {features.LABELS_FILE} names "
            f"{len(labels)}; they must agree; train again"
        )
    broken = int((~np.isfinite(scores)).any(axis=1).sum())
    if broken:
        problems.append(f"the scores of {broken} of {len(scores)} test examples are not finite")
    position = {label: index for index, label in enumerate(labels)}
    index = np.array([position.get(label, -1) for label in named])
    chosen = scores[np.arange(len(scores)), np.maximum(index, 0)]
    with np.errstate(invalid="ignore"):
        wrong = int(((index < 0) | (chosen < scores.max(axis=1))).sum())
    if wrong:
        problems.append(
            f"the predicted label is not the one with the best score for {wrong} of "
            f"{len(scores)} test examples"
        )
    return ModelPredictions(labels, scores, tuple(problems))


def _read_labels(model_directory: str) -> tuple[str, ...]:
    path = os.path.join(model_directory, pushed_model.LABELS_FILE)
    if not tf.io.gfile.exists(path):
        raise ModelError(f"the export must list its labels in {path}; train again")
    with tf.io.gfile.GFile(path, "rb") as file:
        return tuple(pushed_model.parse_labels(file.read().decode()))


def _first(feature: "tf.train.Features.FeatureEntry", name: str) -> str:
    """Return the first value of a feature as text; "" if there is none."""
    if name not in feature:
        return ""
    kind = feature[name].WhichOneof("kind")
    values = getattr(feature[name], kind).value if kind else []
    if not values:
        return ""
    value = values[0]
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
