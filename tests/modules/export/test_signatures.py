"""The export returns the trainer's scores in a process without this project."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from modules import preprocessing
from modules.contract import features
from modules.contract.hparams import HParams, TextSettings
from modules.encoders.names import load_encoder
from modules.export import signatures
from modules.network import model, transformer_weights
from serving.server.versions import batching_parameters
from tests.modules import checkpoints
from tests.modules.encoders import hub_module
from tests.modules.tiny_runs import LABELS, texts
from tests.tiny_bert import HIDDEN, VOCABULARY

#: Loads an export as TF 2 programs and TensorFlow Serving do, and classifies texts with both.
LOADERS = """
import json, re, sys
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
result = {"names": sorted(loaded), "empty": {}, "ops": {}}
classifying = {name: loaded[name] for name in loaded if name != "serving_monitoring"}
for name, signature in classifying.items():
    feed = examples if "examples" in name else texts
    (argument,) = signature.structured_input_signature[1]
    result[name] = plain(signature(**{argument: tf.constant(feed)}))
    nothing = {argument: tf.constant([], tf.string)}
    result["empty"][name] = list(signature(**nothing)["scores"].shape)
v1 = tf.compat.v1
with tf.Graph().as_default(), v1.Session() as session:
    graph = v1.saved_model.load(session, ["serve"], folder)
    trace = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)
    monitoring = graph.signature_def["serving_monitoring"]
    outputs = {name: tensor.name for name, tensor in monitoring.outputs.items()}
    described = session.run(outputs, {monitoring.inputs["text"].name: texts})
    result["monitoring"] = {name: array.tolist() for name, array in described.items()}
    for name in classifying:
        signature = graph.signature_def[name]
        outputs = {name: tensor.name for name, tensor in signature.outputs.items()}
        (argument,) = signature.inputs.values()
        metadata = v1.RunMetadata()
        feed = {argument.name: examples if "examples" in name else texts}
        result["session " + name] = plain(session.run(outputs, feed, trace, metadata))
        stats = [node for device in metadata.step_stats.dev_stats for node in device.node_stats]
        ops = [re.search(r"= (\\w+)\\(", node.timeline_label) for node in stats]
        result["ops"][name] = sorted({op.group(1) for op in ops if op})
result["foreign"] = [name for name in sys.modules if name.split(".")[0] in ("modules", "keras_hub")]
print(json.dumps(result))
"""
#: Signatures of a served model, in each precision.
NAMES = ("serving_default", "serving_examples")
BFLOAT16_NAMES = tuple(f"{name}_bfloat16" for name in NAMES)

QUESTIONS = ["a great film", "awful", "", "book " * 200 + "great", "naïve <br/> café ☕", "great"]


def load_elsewhere(folder: Path, questions: list[str]) -> dict[str, Any]:
    """Classify ``questions`` in a new process."""
    command = [sys.executable, "-c", LOADERS, str(folder), json.dumps(questions)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def read_answers(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / features.EXTRA_ASSETS / features.EXPECTED_ANSWERS_FILE).read_text()
    return [json.loads(line) for line in lines.splitlines()]


def assert_answers_as_expected(folder: Path, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    expected = read_answers(folder)
    answers = load_elsewhere(folder, [answer["text"] for answer in expected])
    scores = [answer["scores"] for answer in expected]
    assert answers["names"] == sorted([*names, features.SERVING_MONITORING])
    for way in [f"{loader}{name}" for name in names for loader in ("", "session ")]:
        np.testing.assert_allclose(answers[way]["score"], np.max(answers[way]["scores"], axis=1))
        if way.endswith("_bfloat16"):
            np.testing.assert_allclose(answers[way]["scores"], scores, atol=2e-2, err_msg=way)
            continue
        np.testing.assert_allclose(answers[way]["scores"], scores, atol=1e-5, err_msg=way)
        assert answers[way]["label"] == [e["label"] for e in expected]
    assert set(map(tuple, answers["empty"].values())) == {(0, len(expected[0]["scores"]))}
    assert answers["foreign"] == []
    return answers


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


@pytest.mark.slow
def test_export_returns_the_trainers_scores_without_this_project(exported: Path) -> None:
    answers = assert_answers_as_expected(exported, NAMES + BFLOAT16_NAMES)
    for name, ops in answers["ops"].items():
        if not any(op.startswith("_Mkl") for op in ops):
            pytest.skip("TensorFlow uses no oneDNN on this processor")
        assert {"_MklNativeFusedMatMul", "_MklLayerNorm", "_MklFusedBatchMatMulV2"} <= set(ops), (
            name
        )
        # Ops that must have been fused: the activation, the norm, a bias or a residual.
        assert not {"Tanh", "Erf", "FusedBatchNormV3", "BiasAdd", "_FusedMatMul"} & set(ops), name


@pytest.mark.slow
def test_encoder_of_another_layout_is_served_by_keras(
    tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer_weights, "from_backbone", lambda backbone, dropout: None)
    encoder = load_encoder(tiny_bert)
    classifier = model.build_classifier(encoder, 2, HParams())
    settings = TextSettings(tiny_bert, max_length=24)
    signatures.export(
        classifier, encoder, settings, None, LABELS, str(tmp_path / "m"), {}, QUESTIONS
    )
    answers = assert_answers_as_expected(tmp_path / "m")
    assert_describes(answers["monitoring"], classifier, settings)


def assert_describes(
    answers: dict[str, list[Any]], classifier: Any, settings: TextSettings
) -> None:
    """Check that the head on the embeddings gives the scores, and that token counts are right."""
    encoder = load_encoder(settings.encoder)
    token_ids = preprocessing.tokenize(tf.constant(QUESTIONS), settings, encoder).to_list()
    padded = tf.ragged.constant(token_ids).to_tensor(encoder.pad_token_id)
    mask = tf.sequence_mask([len(ids) for ids in token_ids], dtype=tf.int32)
    expected = classifier({"token_ids": padded, "padding_mask": mask}, training=False)
    head = classifier.get_layer(model.HEAD)
    embeddings = np.array(answers["embedding"])
    np.testing.assert_allclose(head(embeddings), expected, atol=1e-5)
    assert embeddings.shape == (len(QUESTIONS), HIDDEN)
    assert answers["tokens"] == [len(ids) - 2 for ids in token_ids]
    unknown = [ids.count(encoder.unknown_token_id) for ids in token_ids]
    assert answers["unknown_tokens"] == unknown
    assert any(unknown)


@pytest.mark.slow
def test_packed_graph_describes_texts_for_monitoring(tiny_bert: str, tmp_path: Path) -> None:
    encoder = load_encoder(tiny_bert)
    classifier = model.build_classifier(encoder, 2, HParams())
    settings = TextSettings(tiny_bert, max_length=24)
    folder = str(tmp_path / "m")
    signatures.export(classifier, encoder, settings, None, LABELS, folder, {}, QUESTIONS)
    describe = tf.saved_model.load(folder).signatures[features.SERVING_MONITORING]
    answers = {
        name: value.numpy().tolist()
        for name, value in describe(text=tf.constant(QUESTIONS)).items()
    }
    assert_describes(answers, classifier, settings)
    nothing = describe(text=tf.constant([], tf.string))
    assert [nothing[name].shape[0] for name in sorted(nothing)] == [0, 0, 0]


def test_extra_assets_hold_labels_and_model_card(exported: Path) -> None:
    extra = exported / features.EXTRA_ASSETS
    assert (extra / features.LABELS_FILE).read_text() == "b\na\nnaïve label\n"
    assert json.loads((extra / features.MODEL_CARD_FILE).read_text()) == {"encoder": "tiny"}
    assert [answer["text"] for answer in read_answers(exported)] == QUESTIONS


def test_warm_up_requests_are_valid(exported: Path) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    path = str(exported / features.EXTRA_ASSETS / features.WARMUP_FILE)
    loaded = tf.saved_model.load(str(exported)).signatures
    sizes: dict[str, list[int]] = {name: [] for name in NAMES + BFLOAT16_NAMES}
    lengths = set()
    for record in tf.data.TFRecordDataset(path):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        name = request.model_spec.signature_name
        ((argument, tensor),) = request.inputs.items()
        batch = tf.make_ndarray(tensor)
        sizes[name].append(len(loaded[name](**{argument: tf.constant(batch)})["score"]))
        lengths |= {len(text.split()) for text in batch}
    assert sizes == {name: [1, 1, 8] for name in NAMES + BFLOAT16_NAMES}
    assert {1, 24} <= lengths


def test_batching_parameters_are_valid_for_tensorflow_serving(exported: Path) -> None:
    path = exported / features.EXTRA_ASSETS / features.BATCHING_PARAMETERS_FILE
    message = batching_parameters.read(str(path)).message
    assert message.max_execution_batch_size.value == 32
    assert message.max_batch_size.value >= 1000  # texts in a request
    assert message.batch_timeout_micros.value == 0


def test_batch_and_length_do_not_change_the_scores(exported: Path) -> None:
    serve = tf.saved_model.load(str(exported)).signatures[features.SERVING_DEFAULT]
    together = serve(text=tf.constant(QUESTIONS))["scores"]
    for question, scores in zip(QUESTIONS, together, strict=True):
        alone = serve(text=tf.constant([question]))["scores"][0]
        np.testing.assert_allclose(alone, scores, atol=1e-5)


def test_export_contains_little_more_than_the_weights(exported: Path) -> None:
    stored = [
        (dtype, tuple(shape))
        for name, (dtype, shape) in _stored_variables(exported).items()
        if shape and not name.startswith("_CHECKPOINTABLE")
    ]
    layers = 2
    assert sum(dtype == tf.float32 for dtype, _ in stored) == 2 + 2 + layers * 12 + 2
    assert sum(dtype == tf.bfloat16 for dtype, _ in stored) == layers * 8
    tables = [shape for dtype, shape in stored if shape[0] == len(VOCABULARY)]
    assert tables == [(len(VOCABULARY), HIDDEN)]


def _stored_variables(folder: Path) -> dict[str, Any]:
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    dtypes = reader.get_variable_to_dtype_map()
    shapes = reader.get_variable_to_shape_map()
    return {name: (dtypes[name], shapes[name]) for name in shapes}


@pytest.mark.slow
def test_minilm_export_is_little_larger_than_its_weights(tmp_path: Path) -> None:
    encoder = load_encoder("minilm")
    classifier = model.build_classifier(encoder, 2, HParams())
    settings = TextSettings(max_length=64)
    questions = texts(6)[0] + QUESTIONS
    signatures.export(
        classifier, encoder, settings, None, LABELS, str(tmp_path / "m"), {}, questions
    )
    weights = sum(weight.value.numpy().nbytes for weight in classifier.weights)
    layers = (w for w in classifier.weights if "layer_" in w.path and "norm" not in w.path)
    weights += sum(weight.value.numpy().nbytes // 2 for weight in layers)  # in bfloat16
    folders = os.walk(tmp_path / "m")
    size = sum(os.path.getsize(os.path.join(at, f)) for at, _, files in folders for f in files)
    assert size < 1.05 * weights
    assert_answers_as_expected(tmp_path / "m", NAMES + BFLOAT16_NAMES)


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
def test_run_fn_exports_the_transform_graph(tiny_bert: str, tmp_path: Path, spec: Any) -> None:
    from modules.training import run_fn
    from tests.modules import transformed

    transformed.write(tmp_path / "in", tiny_bert, spec)
    run_fn(transformed.fn_args(tmp_path / "in", tmp_path, tiny_bert))
    assert len(read_answers(tmp_path / "model")) == 5
    assert_answers_as_expected(tmp_path / "model", NAMES + BFLOAT16_NAMES)
    card = json.loads((tmp_path / "model/assets.extra/model_card.json").read_text())
    assert (card["train_examples"], card["eval_examples"]) == (60, 24)
    assert (card["code_digest"], card["precision"]) == ("0123", "float32")
    assert sorted(card["labels"]) == sorted(LABELS)
    assert card["metrics"]["val_accuracy"] > 0.5
    assert os.listdir(tmp_path / "checkpoints") == []
    assert os.listdir(tmp_path / "run" / "tensorboard") != []


def _roberta(folder: Path, tiny_bert: str) -> str:
    checkpoints.write_roberta(folder)
    return str(folder)


def _hub(folder: Path, tiny_bert: str) -> str:
    hub_module.write_hub_module(folder)
    return f"tfhub://{folder}"


def _preset(folder: Path, tiny_bert: str) -> str:
    import keras_hub

    encoder = load_encoder(tiny_bert)
    encoder.backbone().save_to_preset(str(folder))
    tokenizer = keras_hub.models.BertTokenizer(list(VOCABULARY), lowercase=True)
    tokenizer.save_to_preset(str(folder))
    return f"keras://{folder}"


@pytest.mark.slow
@pytest.mark.parametrize("make", [_roberta, _hub, _preset])
def test_other_encoders_pass_transform_training_and_export(
    tiny_bert: str, tmp_path: Path, make: Any
) -> None:
    """TensorFlow cannot read a checkpoint while Transform's graph is traced."""
    from modules.training import run_fn
    from tests.modules import transformed

    encoder = make(tmp_path / "encoder", tiny_bert)
    transformed.write(tmp_path / "in", encoder, tf.io.FixedLenFeature([], tf.string))
    run_fn(transformed.fn_args(tmp_path / "in", tmp_path, encoder, epochs=1))
    assert_answers_as_expected(tmp_path / "model", NAMES + BFLOAT16_NAMES)
