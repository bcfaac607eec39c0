"""A sound export passes every gate; a foreign op, wrong answers and broken models are named."""

import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from modules import features, model, signatures
from modules.encoders import load_encoder
from modules.export_gate import allowed_ops, used_ops
from modules.export_gates import check_export
from modules.hparams import HParams, TextSettings

IMAGE = "tensorflow/serving:2.19.1"
TEXTS = ["a great film", "awful", "", "book " * 200 + "great", "great"]


@pytest.fixture(scope="module")
def exported(tiny_bert: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    encoder = load_encoder(tiny_bert)
    classifier = model.build_classifier(encoder, 3, HParams())
    settings = TextSettings(tiny_bert, max_length=24)
    signatures.export(classifier, encoder, settings, None, "abc", str(folder), {}, TEXTS)
    return folder


@pytest.mark.slow
def test_a_sound_export_passes(exported: Path) -> None:
    assert check_export(str(exported), IMAGE) == []


@pytest.mark.slow
def test_other_answers_than_the_trainers_are_refused(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    path = folder / features.EXTRA_ASSETS / features.EXPECTED_ANSWERS_FILE
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records[1]["scores"][0] += 2e-4
    records[2]["scores"] = [0.9, 0.05, 0.05]
    records[3]["scores"] = [0.05, 0.9, 0.05]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    float32, examples, bfloat16, bfloat16_examples = check_export(
        str(folder), IMAGE, ["float32", "bfloat16"]
    )
    assert float32.startswith("float32: serving_default answers 3 of 5 texts otherwise")
    assert "serving_examples" in examples
    assert bfloat16.startswith("bfloat16: serving_default_bfloat16 labels")
    assert "serving_examples_bfloat16" in bfloat16_examples


@pytest.mark.slow
def test_a_model_without_answers_is_refused(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    (folder / features.EXTRA_ASSETS / features.EXPECTED_ANSWERS_FILE).write_text("")
    (failure,) = check_export(str(folder), IMAGE, ["float32"])
    assert "holds no answers to compare with" in failure


@pytest.mark.slow
def test_a_model_that_does_not_load_is_refused(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    (folder / "variables" / "variables.index").unlink()
    (failure,) = check_export(str(folder), IMAGE, ["alone"])
    assert failure.startswith("alone: broke down with status 1")


def test_an_op_that_the_image_lacks_is_named(tmp_path: Path) -> None:
    class Foreign(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def serve(self, text: tf.Tensor) -> tf.Tensor:
            return tf.map_fn(lambda one: tf.py_function(len, [one], tf.int32), text, tf.int32)

    module = Foreign()
    tf.saved_model.save(module, str(tmp_path), signatures=module.serve)
    assert used_ops(str(tmp_path)) - allowed_ops(IMAGE) == {"EagerPyFunc"}
    failures = check_export(str(tmp_path), IMAGE, ["ops"])
    assert failures == [f"ops: {IMAGE} cannot run the op EagerPyFunc"]


def test_an_image_of_unknown_version_is_refused(exported: Path) -> None:
    for image in ("tensorflow/serving:1.15.0", "tensorflow/serving@sha256:00", "nobody"):
        with pytest.raises(ValueError, match="legal: a tag of version 2"):
            allowed_ops(image)


@pytest.mark.parametrize("version", ["2.16", "2.19"])
def test_the_lists_hold_what_every_model_uses_and_nothing_of_python(version: str) -> None:
    ops = allowed_ops(f"tensorflow/serving:{version}.1")
    assert {"MatMul", "VarHandleOp", "RestoreV2", "FastWordpieceTokenizeWithOffsets"} <= ops
    assert not {"PyFunc", "EagerPyFunc"} & ops
