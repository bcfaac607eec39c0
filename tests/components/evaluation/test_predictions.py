from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.evaluation.predictions import predict, read_test_split
from modules.contract import features
from modules.contract.errors import DataError, ModelError
from tests.components import exports


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(exports.write_export(tmp_path_factory.mktemp("export") / "1"))


@pytest.mark.parametrize("files", [0, 1])
def test_test_split_without_examples_is_refused(tmp_path: Path, files: int) -> None:
    for number in range(files):
        options = tf.io.TFRecordOptions(compression_type="GZIP")
        tf.io.TFRecordWriter(str(tmp_path / f"{number}.gz"), options).close()
    with pytest.raises(DataError, match="no example"):
        read_test_split(str(tmp_path), [])


def test_missing_column_of_an_example_is_empty(tmp_path: Path) -> None:
    rows = [("good film", "positive"), ("bad", "negative")]
    examples = exports.make_examples(tmp_path, rows, {"domain": ["films", ""]})
    split = Path(examples.uri, "Split-test")
    with tf.io.TFRecordWriter(
        str(split / "more.gz"), tf.io.TFRecordOptions(compression_type="GZIP")
    ) as writer:
        example = tf.train.Example()
        example.features.feature[features.TEXT].bytes_list.value.append(b"neither")
        example.features.feature[features.LABEL].bytes_list.value.append(b"negative")
        example.features.feature["stars"].int64_list.value.append(3)
        example.features.feature["domain"].SetInParent()  # a feature of no kind
        writer.write(example.SerializeToString())
    test = read_test_split(str(split), ["domain", "stars"])
    assert test.columns == {"domain": ["films", "", ""], "stars": ["", "", "3"]}


def test_different_numbers_of_labels_and_scores_are_refused(export: Path, tmp_path: Path) -> None:
    test = read_test_split(
        str(Path(exports.make_examples(tmp_path, [("good", "positive")]).uri, "Split-test")), []
    )
    assert np.argmax(predict(str(export), test).scores) == 1
    labels = export / features.EXTRA_ASSETS / features.LABELS_FILE
    before = labels.read_text()
    labels.write_text(before + "neutral\n")
    with pytest.raises(ModelError, match="must agree"):
        predict(str(export), test)
    labels.unlink()
    with pytest.raises(ModelError, match="must list its labels"):
        predict(str(export), test)
    labels.write_text(before)


def test_export_without_the_signature_is_refused(export: Path, tmp_path: Path) -> None:
    test = read_test_split(
        str(Path(exports.make_examples(tmp_path, [("good", "positive")]).uri, "Split-test")), []
    )
    module = tf.Module()
    tf.saved_model.save(module, str(tmp_path / "plain"))
    extra = tmp_path / "plain" / features.EXTRA_ASSETS
    extra.mkdir()
    (extra / features.LABELS_FILE).write_text("a\nb\n")
    with pytest.raises(ModelError, match=features.SERVING_EXAMPLES):
        predict(str(tmp_path / "plain"), test)
