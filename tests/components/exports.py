"""Small exports that follow the project's model contract: keyword counters with known answers."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf
from tfx.types import standard_artifacts

from modules.contract import features

KEYWORDS = {"negative": "bad", "positive": "good"}
TEXTS = ("good film", "bad film", "good good food", "bad bad hotel", "neither here nor there")


class KeywordClassifier(tf.Module):
    """Model that scores each label by the number of its keywords in the text."""

    def __init__(
        self, keywords: Mapping[str, str], sharpness: float, broken_word: str, padding: int
    ) -> None:
        super().__init__()
        self.labels = tf.constant(list(keywords))
        self.words = tf.constant(list(keywords.values()))
        self.sharpness = tf.Variable(sharpness, dtype=tf.float32)
        self.broken_word = broken_word
        self.ballast = tf.Variable(tf.zeros([padding]))

    def answer(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        words = tf.strings.split(text)
        hits = [
            tf.reduce_sum(tf.cast(words == word, tf.float32), axis=1)
            for word in tf.unstack(self.words)
        ]
        scores = tf.nn.softmax(tf.stack(hits, axis=1) * self.sharpness)
        if self.broken_word:
            broken = tf.reduce_any(words == self.broken_word, axis=1)
            scores = tf.where(broken[:, None], float("nan"), scores)
        best = tf.argmax(scores, axis=1)
        return {
            features.SCORES: scores,
            features.PREDICTED_LABEL: tf.gather(self.labels, best),
            features.SCORE: tf.reduce_max(scores, axis=1),
        }

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name=features.TEXT)], autograph=False
    )
    def by_text(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.answer(text)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name=features.EXAMPLES_INPUT)],
        autograph=False,
    )
    def by_example(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = {features.TEXT: tf.io.FixedLenFeature([], tf.string)}
        return self.answer(tf.io.parse_example(examples, spec)[features.TEXT])


def write_export(
    directory: str | os.PathLike[str],
    *,
    keywords: Mapping[str, str] = KEYWORDS,
    sharpness: float = 2.0,
    broken_word: str = "",
    padding: int = 1,
    texts: Sequence[str] = TEXTS,
) -> str:
    """Write a SavedModel with its extra assets and return its folder.

    Args:
        directory: folder to write to.
        keywords: label -> the word that indicates it.
        sharpness: factor for keyword counts; if negative, every answer is wrong.
        broken_word: texts with this word get NaN scores.
        padding: number of unused floats, to make the export larger.
        texts: texts whose answers are exported as the trainer's own.
    """
    directory = os.fspath(directory)
    model = KeywordClassifier(keywords, sharpness, broken_word, padding)
    signatures = {
        features.SERVING_DEFAULT: model.by_text,
        features.SERVING_EXAMPLES: model.by_example,
    }
    tf.saved_model.save(model, directory, signatures=signatures)
    extra = Path(directory, features.EXTRA_ASSETS)
    extra.mkdir()
    (extra / features.LABELS_FILE).write_text("\n".join(keywords) + "\n")
    answers = model.answer(tf.constant(list(texts)))
    lines = [
        json.dumps({"text": text, "label": label.decode(), "scores": scores})
        for text, label, scores in zip(
            texts,
            answers[features.PREDICTED_LABEL].numpy(),
            answers[features.SCORES].numpy().astype(float).tolist(),
            strict=True,
        )
    ]
    (extra / features.EXPECTED_ANSWERS_FILE).write_text("\n".join(lines) + "\n")
    return directory


def make_model(folder: Path, artifact_id: int = 1, **kwargs: object) -> standard_artifacts.Model:
    """Return a Model artifact with an export; keyword arguments as in ``write_export``."""
    model = standard_artifacts.Model()
    model.uri = str(folder)
    model.id = artifact_id
    write_export(folder / "Format-Serving", **kwargs)  # type: ignore[arg-type]
    return model


def make_examples(
    folder: Path,
    rows: Sequence[tuple[str, str]],
    columns: Mapping[str, Sequence[str]] | None = None,
) -> standard_artifacts.Examples:
    """Return an Examples artifact whose test split has ``rows`` of (text, label)."""
    examples = standard_artifacts.Examples()
    examples.uri = str(folder)
    examples.split_names = json.dumps(list(features.SPLITS))
    split = folder / "Split-test"
    split.mkdir(parents=True)
    path = str(split / "data_tfrecord-00000-of-00001.gz")
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for index, (text, label) in enumerate(rows):
            values = {features.TEXT: text, features.LABEL: label}
            values |= {name: column[index] for name, column in (columns or {}).items()}
            writer.write(make_example(values))
    return examples


def make_example(values: Mapping[str, str]) -> bytes:
    """Return a serialized tf.Example of bytes features."""
    feature = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
        for name, value in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
