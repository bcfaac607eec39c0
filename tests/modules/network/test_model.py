"""The classifier computes the same function as keras-hub's backbone and trains every weight."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from modules.contract.hparams import HParams
from modules.encoders.names import load_encoder
from modules.fit import training_loop
from modules.network import model, transformer_weights
from tests.modules import checkpoints
from tests.modules.tiny_runs import make_run
from tests.tiny_bert import VOCABULARY

TOLERANCE = 1e-5


def batch(rows: int = 4, length: int = 13, vocabulary: int = len(VOCABULARY)) -> dict:
    generator = np.random.default_rng(0)
    mask = np.ones((rows, length), np.int32)
    mask[1, 5:] = 0
    mask[2, 1:] = 0
    ids = generator.integers(0, vocabulary, (rows, length)).astype(np.int32)
    return {"token_ids": ids, "padding_mask": mask}


def assert_same_vectors(folder: str, vocabulary: int = len(VOCABULARY)) -> None:
    backbone = load_encoder(folder).backbone(dropout=0.0)
    lean = transformer_weights.from_backbone(backbone, dropout=0.1)
    assert lean is not None
    inputs = batch(vocabulary=vocabulary)
    ours = keras.ops.convert_to_numpy(lean(inputs, training=False))
    theirs = keras.ops.convert_to_numpy(model._backbone_as_model(backbone)(inputs))
    real = inputs["padding_mask"].astype(bool)
    np.testing.assert_allclose(ours[real], theirs[real], atol=TOLERANCE, rtol=0)


def test_bert_vectors_match_keras_hub(tiny_bert: str) -> None:
    assert_same_vectors(tiny_bert)


@pytest.mark.parametrize("write", [checkpoints.write_distilbert, checkpoints.write_roberta])
def test_vectors_of_other_families_match_keras_hub(tmp_path: Path, write: Callable) -> None:
    write(tmp_path)
    words = json.loads((tmp_path / "config.json").read_text())["vocab_size"]
    assert_same_vectors(str(tmp_path), words)


@pytest.mark.slow
def test_minilm_vectors_match_keras_hub() -> None:
    assert_same_vectors("minilm", 30522)


def test_unknown_family_runs_on_the_keras_hub_backbone(tiny_bert: str) -> None:
    encoder = load_encoder(tiny_bert)
    backbone = encoder.backbone(dropout=0.0)
    backbone.__class__ = type("OtherBackbone", (type(backbone),), {})
    assert transformer_weights.from_backbone(backbone, dropout=0.0) is None
    trunk = model._backbone_as_model(backbone)
    assert not any("pooled" in weight.path for weight in trunk.trainable_weights)
    assert trunk(batch()).shape == (4, 13, 16)


def test_padding_does_not_change_the_logits(tiny_bert: str) -> None:
    classifier = model.build_classifier(load_encoder(tiny_bert), 3, HParams())
    short = {name: value[1:2, :5] for name, value in batch().items()}
    padded = {name: value[1:2] for name, value in batch().items()}
    np.testing.assert_allclose(classifier(short), classifier(padded), atol=TOLERANCE)


def test_logits_are_float32_for_any_number_of_classes(tiny_bert: str) -> None:
    with training_loop.dtype_policy("mixed_bfloat16"):
        classifier = model.build_classifier(load_encoder(tiny_bert), 20, HParams())
    logits = classifier(batch())
    assert logits.shape == (4, 20)
    assert logits.dtype == "float32"
    assert {weight.dtype for weight in classifier.weights} == {"float32"}


def weights_after_one_step(classifier: keras.Model) -> list[np.ndarray]:
    run_hparams = HParams(learning_rate=1e-2)
    training_loop.compile_classifier(
        classifier, run_hparams, training_loop.TrainingSettings(), total_steps=100
    )
    classifier.train_on_batch(batch(), np.array([0, 1, 1, 0]))
    return classifier.get_weights()


def test_first_step_is_traced_once(tiny_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables created within a step, as by Keras's optimizers, would cause a second trace."""
    classifier = model.build_classifier(load_encoder(tiny_bert), 2, HParams())
    head = classifier.get_layer(model.HEAD)
    call, traces = head.call, []

    def counted(*arguments: Any, **options: Any) -> Any:
        traces.append(1)
        return call(*arguments, **options)

    monkeypatch.setattr(head, "call", counted)
    weights_after_one_step(classifier)
    assert len(traces) == 1


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_first_step_changes_every_weight(tiny_bert: str, precision: str) -> None:
    with training_loop.dtype_policy(precision):
        classifier = model.build_classifier(load_encoder(tiny_bert), 2, HParams())
    before = classifier.get_weights()
    after = weights_after_one_step(classifier)
    unchanged = [
        weight.path
        for weight, old, new in zip(classifier.weights, before, after, strict=True)
        if np.array_equal(old, new)
    ]
    assert len(after) == 3 + 1 + 2 * 12 + 2
    assert unchanged == []


def test_frozen_encoder_trains_only_the_head(tiny_bert: str) -> None:
    hparams = HParams(freeze_encoder=True)
    classifier = model.build_classifier(load_encoder(tiny_bert), 2, hparams)
    before = classifier.get_weights()
    after = weights_after_one_step(classifier)
    changed = {
        weight.path.split("/")[0]
        for weight, old, new in zip(classifier.weights, before, after, strict=True)
        if not np.array_equal(old, new)
    }
    assert changed == {model.HEAD}


def test_dropout_keeps_the_expectation_and_the_rate() -> None:
    from modules.network.dropout import ByteDropout

    layer = ByteDropout(0.1)
    ones = np.ones((200, 501), np.float32)
    dropped = keras.ops.convert_to_numpy(layer(ones, training=True))
    assert set(np.unique(dropped)) == {np.float32(0), np.float32(256 / 230)}
    assert np.mean(dropped == 0) == pytest.approx(26 / 256, abs=0.005)
    assert np.mean(dropped) == pytest.approx(1.0, abs=0.005)
    other = keras.ops.convert_to_numpy(layer(ones, training=True))
    assert np.mean((dropped == 0) & (other == 0)) == pytest.approx((26 / 256) ** 2, abs=0.002)
    np.testing.assert_array_equal(layer(ones, training=False), ones)


def test_biases_and_norms_are_not_decayed(tiny_bert: str) -> None:
    run = make_run(tiny_bert)
    classifier = model.build_classifier(run.encoder, 2, run.hparams)
    training_loop.compile_classifier(classifier, run.hparams, run.settings, total_steps=10)
    classifier.optimizer.build(classifier.trainable_variables)
    decayed = {
        variable.name
        for variable in classifier.trainable_variables
        if classifier.optimizer._use_weight_decay(variable)
    }
    assert decayed == {
        "tokens",
        "positions",
        "query_key_value_kernel",
        "attention_output_kernel",
        "intermediate_kernel",
        "feedforward_output_kernel",
        "kernel",
    }
