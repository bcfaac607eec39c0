"""The packed graph computes the Keras model's logits for texts of any length."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from modules.contract.hparams import HParams
from modules.encoders.names import load_encoder
from modules.export.serving_graph import ServingGraph, supports
from modules.network import model, transformer_weights
from tests.modules import checkpoints
from tests.tiny_bert import MAX_POSITIONS, write_tiny_bert

_MAX_LENGTH = MAX_POSITIONS - 2  # RoBERTa leaves two unused
#: Lengths of the texts of a batch.
BATCHES = {
    "one text": [5],
    "one token": [1],
    "a text without tokens": [0],
    "no text": [],
    "equal": [7, 7, 7],
    "uneven": [2, 40, 3, 1, 0, 38, 2, 5],
    "many short, one as long as the encoder reads": [3] * 30 + [_MAX_LENGTH],
}
FAMILIES: dict[str, Callable[[Path], Any]] = {
    "bert": write_tiny_bert,
    "distilbert": checkpoints.write_distilbert,
    "roberta": checkpoints.write_roberta,
}


def build(folder: Path, classes: int = 3) -> keras.Model:
    """Build a classifier whose head separates texts."""
    classifier = model.build_classifier(load_encoder(str(folder)), classes, HParams())
    head = classifier.get_layer(model.HEAD)
    generator = np.random.default_rng(0)
    head.set_weights([generator.normal(0, 0.5, weight.shape) for weight in head.get_weights()])
    return classifier


@pytest.fixture(scope="module", params=FAMILIES)
def classifier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    FAMILIES[request.param](folder)
    return build(folder)


@pytest.fixture(scope="module")
def graphs(classifier: keras.Model) -> dict[tf.DType, ServingGraph]:
    """Return one graph per precision for all lengths, as in an export."""
    return {
        precision: ServingGraph(classifier, precision) for precision in (tf.float32, tf.bfloat16)
    }


def make_tokens(lengths: list[int]) -> tf.RaggedTensor:
    generator = np.random.default_rng(len(lengths))
    ids = generator.integers(0, 20, sum(lengths)).astype(np.int32)
    return tf.RaggedTensor.from_row_lengths(ids, np.array(lengths, np.int64))


def keras_logits(classifier: keras.Model, tokens: tf.RaggedTensor) -> np.ndarray:
    token_ids = tokens.to_tensor(0)
    mask = tf.sequence_mask(tokens.row_lengths(), tf.shape(token_ids)[1], dtype=tf.int32)
    return classifier({"token_ids": token_ids, "padding_mask": mask}, training=False).numpy()


@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES)
def test_float32_matches_keras(
    classifier: keras.Model, graphs: dict[tf.DType, ServingGraph], lengths: list[int]
) -> None:
    tokens = make_tokens(lengths)
    logits = graphs[tf.float32](tokens).numpy()
    assert logits.shape == (len(lengths), 3)
    if not lengths:
        return
    if max(lengths) == 0:  # the mean of no vectors is zero, so the logits are the head's bias
        bias = classifier.get_layer(model.HEAD).bias.numpy()
        np.testing.assert_allclose(logits, [bias] * len(lengths))
        return
    np.testing.assert_allclose(logits, keras_logits(classifier, tokens), atol=1e-5)


def test_bfloat16_is_close_to_float32_with_float32_outputs(
    classifier: keras.Model, graphs: dict[tf.DType, ServingGraph]
) -> None:
    tokens = make_tokens(BATCHES["uneven"])
    graph = graphs[tf.bfloat16]
    logits = graph(tokens)
    assert logits.dtype == tf.float32
    difference = np.abs(logits.numpy() - keras_logits(classifier, tokens))
    assert 0 < np.median(difference) < 0.02
    assert difference.max() < 0.1
    stored = {variable.dtype.name for variable in graph.variables}
    assert stored == {"float32", "bfloat16"}


@pytest.mark.parametrize("precision", [tf.float32, tf.bfloat16])
def test_text_gets_the_same_logits_alone_and_in_a_batch(
    graphs: dict[tf.DType, ServingGraph], precision: tf.DType
) -> None:
    tokens = make_tokens(BATCHES["uneven"])
    graph = graphs[precision]
    together = graph(tokens).numpy()
    for row in range(tokens.nrows()):
        alone = graph(tokens[row : row + 1]).numpy()[0]
        tolerance = 1e-5 if precision == tf.float32 else 0.05
        np.testing.assert_allclose(alone, together[row], atol=tolerance)


def test_float32_shares_the_variables_of_the_model(classifier: keras.Model) -> None:
    ours = ServingGraph(classifier).variables
    theirs = {id(weight.value) for weight in classifier.weights}
    assert {id(variable) for variable in ours} == theirs
    embeddings = classifier.get_layer("encoder").get_layer("embeddings")
    half = ServingGraph(classifier, tf.bfloat16).variables
    assert any(variable is embeddings.tokens.value for variable in half)


def test_other_encoder_layout_is_not_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_bert(tmp_path)
    assert supports(build(tmp_path))
    monkeypatch.setattr(transformer_weights, "from_backbone", lambda backbone, dropout: None)
    assert not supports(build(tmp_path))
