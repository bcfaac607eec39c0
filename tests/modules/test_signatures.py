"""The export answers as the trainer does, in a process that has nothing of this project."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from modules import features, model, signatures
from modules.encoders import load_encoder
from modules.hparams import HParams, TextSettings
from tests.modules.tiny_runs import LABELS, texts

#: Loads an export as TF 2 programs do and as TensorFlow Serving does, and answers texts with both.
LOADERS = """
import json, sys
import numpy as np, tensorflow as tf, tensorflow_text
folder, texts = sys.argv[1], json.loads(sys.argv[2])
examples = [
    tf.train.Example(features=tf.train.Features(feature={
        "text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
    })).SerializeToString()
    for text in texts
]
def plain(answers):
    scores = np.asarray(answers["scores"], float).tolist()
    labels = [label.decode() for label in np.asarray(answers["label"]).tolist()]
    score = np.asarray(answers["score"], float).tolist()
    return {"scores": scores, "label": labels, "score": score}
loaded = tf.saved_model.load(folder).signatures
result = {
    "text": plain(loaded["serving_default"](text=tf.constant(texts))),
    "examples": plain(loaded["serving_examples"](examples=tf.constant(examples))),
    "empty": list(loaded["serving_default"](text=tf.constant([], tf.string))["scores"].shape),
}
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    graph = tf.compat.v1.saved_model.load(session, ["serve"], folder)
    signature = graph.signature_def["serving_default"]
    outputs = {name: tensor.name for name, tensor in signature.outputs.items()}
    result["session"] = plain(session.run(outputs, {signature.inputs["text"].name: texts}))
result["foreign"] = [name for name in sys.modules if name.split(".")[0] in ("modules", "keras_hub")]
print(json.dumps(result))
"""

QUESTIONS = ["a great film", "awful", "", "book " * 200 + "great", "naïve <br/> café ☕", "great"]


def load_elsewhere(folder: Path, questions: list[str]) -> dict[str, Any]:
    """Answers to ``questions`` by a fresh process."""
    command = [sys.executable, "-c", LOADERS, str(folder), json.dumps(questions)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def read_answers(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / features.EXTRA_ASSETS / features.EXPECTED_ANSWERS_FILE).read_text()
    return [json.loads(line) for line in lines.splitlines()]


def assert_answers_as_expected(folder: Path) -> None:
    expected = read_answers(folder)
    answers = load_elsewhere(folder, [answer["text"] for answer in expected])
    for way in ("text", "examples", "session"):
        np.testing.assert_allclose(
            answers[way]["scores"], [e["scores"] for e in expected], atol=1e-5, err_msg=way
        )
        assert answers[way]["label"] == [e["label"] for e in expected]
        np.testing.assert_allclose(answers[way]["score"], np.max(answers[way]["scores"], axis=1))
    assert answers["empty"] == [0, len(expected[0]["scores"])]
    assert answers["foreign"] == []


@pytest.fixture(scope="module")
def exported(tiny_bert: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    encoder = load_encoder(tiny_bert)
    signatures.export(
        model.build_classifier(encoder, 3, HParams()),
        encoder,
        TextSettings(tiny_bert, max_length=24),
        None,
        ["b", "a", "naïve label"],
        str(folder),
        {"encoder": "tiny"},
        QUESTIONS,
    )
    return folder


def test_it_answers_as_the_trainer_does_without_this_project(exported: Path) -> None:
    assert_answers_as_expected(exported)


def test_what_rides_along(exported: Path) -> None:
    extra = exported / features.EXTRA_ASSETS
    assert (extra / features.LABELS_FILE).read_text() == "b\na\nnaïve label\n"
    assert json.loads((extra / features.MODEL_CARD_FILE).read_text()) == {"encoder": "tiny"}
    assert [answer["text"] for answer in read_answers(exported)] == QUESTIONS


def test_warm_up_requests_are_answerable(exported: Path) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    path = str(exported / features.EXTRA_ASSETS / signatures.WARMUP_FILE)
    serve = tf.saved_model.load(str(exported)).signatures[features.SERVING_DEFAULT]
    sizes = []
    for record in tf.data.TFRecordDataset(path):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        assert request.model_spec.signature_name == features.SERVING_DEFAULT
        batch = tf.make_ndarray(request.inputs[features.TEXT])
        sizes.append(len(serve(text=tf.constant(batch))["score"]))
    assert sizes == [1, 8]


def test_batch_and_length_do_not_change_an_answer(exported: Path) -> None:
    serve = tf.saved_model.load(str(exported)).signatures[features.SERVING_DEFAULT]
    together = serve(text=tf.constant(QUESTIONS))["scores"]
    for question, scores in zip(QUESTIONS, together, strict=True):
        alone = serve(text=tf.constant([question]))["scores"][0]
        np.testing.assert_allclose(alone, scores, atol=1e-5)


def test_the_export_holds_the_weights_and_little_else(exported: Path) -> None:
    stored = sorted(
        tuple(shape)
        for name, shape in tf.train.list_variables(str(exported / "variables" / "variables"))
        if shape
    )
    assert len(stored) == 3 + 1 + 2 * 12 + 2


@pytest.mark.slow
def test_an_export_of_minilm_is_little_larger_than_its_weights(tmp_path: Path) -> None:
    encoder = load_encoder("minilm")
    classifier = model.build_classifier(encoder, 2, HParams())
    settings = TextSettings(max_length=64)
    questions = texts(6)[0] + QUESTIONS
    signatures.export(
        classifier, encoder, settings, None, LABELS, str(tmp_path / "m"), {}, questions
    )
    weights = sum(weight.value.numpy().nbytes for weight in classifier.weights)
    folders = os.walk(tmp_path / "m")
    size = sum(os.path.getsize(os.path.join(at, f)) for at, _, files in folders for f in files)
    assert size < 1.05 * weights
    assert_answers_as_expected(tmp_path / "m")


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        tf.io.FixedLenFeature([], tf.string),
        tf.io.FixedLenFeature([1], tf.string),
        tf.io.VarLenFeature(tf.string),
    ],
    ids=["scalar", "one value", "any number of values"],
)
def test_run_fn_exports_transforms_own_graph(tiny_bert: str, tmp_path: Path, spec: Any) -> None:
    from modules.training import run_fn
    from tests.modules import transformed

    transformed.write(tmp_path / "in", tiny_bert, spec)
    run_fn(transformed.fn_args(tmp_path / "in", tmp_path, tiny_bert))
    assert len(read_answers(tmp_path / "model")) == 5
    assert_answers_as_expected(tmp_path / "model")
    card = json.loads((tmp_path / "model/assets.extra/model_card.json").read_text())
    assert (card["train_examples"], card["eval_examples"]) == (60, 24)
    assert (card["code_digest"], card["precision"]) == ("0123", "float32")
    assert sorted(card["labels"]) == sorted(LABELS)
    assert card["metrics"]["val_accuracy"] > 0.5
    assert os.listdir(tmp_path / "checkpoints") == []
    assert os.listdir(tmp_path / "run" / "tensorboard") != []
