"""Encoders by name: their outputs, fingerprints and error messages."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from modules.contract.errors import EncoderError
from modules.encoders.names import Encoder, load_encoder
from tests import tiny_bert as tiny
from tests.modules import checkpoints
from tests.modules.encoders import hub_module

TOKEN_IDS = np.array([[2, 7, 30, 41, 3], [2, 12, 3, 0, 0]], np.int32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)
KEPT = MASK.astype(bool)
TEXTS = ["a good film!", "Café, naïve"]


def run(encoder: Encoder, token_ids: np.ndarray = TOKEN_IDS) -> dict[str, np.ndarray]:
    """Return the backbone's outputs; only the sequence output for families without a pooler."""
    backbone = encoder.backbone()
    inputs = {"token_ids": token_ids, "padding_mask": MASK}
    if "segment_ids" in backbone.input:
        inputs["segment_ids"] = np.zeros_like(token_ids)
    outputs = backbone(inputs)
    if not isinstance(outputs, dict):
        outputs = {"sequence_output": outputs}
    return {name: np.asarray(value) for name, value in outputs.items()}


def tokens(encoder: Encoder, texts: list[str] = TEXTS) -> list[list[int]]:
    return encoder.tokenizer()(tf.constant(texts)).to_list()


def message(name: str) -> str:
    with pytest.raises(EncoderError) as caught:
        load_encoder(name)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_bert_folder_matches_the_numpy_reference(tiny_bert: str) -> None:
    encoder = load_encoder(tiny_bert)
    weights = tiny.make_weights()
    expected = checkpoints.encode(weights, TOKEN_IDS, MASK)
    outputs = run(encoder)
    np.testing.assert_allclose(outputs["sequence_output"][KEPT], expected[KEPT], atol=2e-5)
    pooled = checkpoints.pool(weights, expected)
    np.testing.assert_allclose(outputs["pooled_output"], pooled, atol=2e-5)


def test_bert_folder_has_special_tokens_and_length(tiny_bert: str) -> None:
    encoder = load_encoder(tiny_bert)
    ids = (encoder.start_token_id, encoder.end_token_id, encoder.pad_token_id)
    assert [tiny.VOCABULARY[i] for i in ids] == ["[CLS]", "[SEP]", "[PAD]"]
    assert encoder.max_positions == tiny.MAX_POSITIONS
    words = [[tiny.VOCABULARY[i] for i in row] for row in tokens(encoder)]
    assert words == [
        ["a", "good", "film", "!"],
        ["c", "##a", "##f", "##e", ",", "n", "##a", "##i", "##v", "##e"],
    ]


def test_distilbert_folder_matches_the_numpy_reference(tmp_path: Path) -> None:
    weights = checkpoints.write_distilbert(tmp_path)
    expected = checkpoints.encode(weights, TOKEN_IDS, MASK, activation=checkpoints.gelu)
    outputs = run(load_encoder(f"hf://{tmp_path}"))
    np.testing.assert_allclose(outputs["sequence_output"][KEPT], expected[KEPT], atol=2e-5)


def test_roberta_folder_matches_the_numpy_reference(tmp_path: Path) -> None:
    weights = checkpoints.write_roberta(tmp_path)
    encoder = load_encoder(str(tmp_path))
    token_ids = TOKEN_IDS % len(checkpoints.ROBERTA_VOCABULARY)
    expected = checkpoints.encode(
        weights,
        token_ids,
        MASK,
        first_position=2,
        epsilon=1e-5,
        activation=checkpoints.gelu,
    )
    outputs = run(encoder, token_ids)
    np.testing.assert_allclose(outputs["sequence_output"][KEPT], expected[KEPT], atol=2e-5)
    assert encoder.max_positions == tiny.MAX_POSITIONS - 2
    assert (encoder.start_token_id, encoder.pad_token_id, encoder.end_token_id) == (0, 1, 2)


def test_roberta_folder_is_tokenized_with_its_merges(tmp_path: Path) -> None:
    checkpoints.write_roberta(tmp_path)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    pieces = {index: token for token, index in vocabulary.items()}
    (row,) = tokens(load_encoder(str(tmp_path)), ["a good goo."])
    assert [pieces[i] for i in row] == ["a", "Ġgood", "Ġ", "go", "o", "."]


def test_more_tokens_than_embeddings_are_rejected(tiny_bert: str, tmp_path: Path) -> None:
    checkpoints.write_roberta(tmp_path / "roberta")
    shutil.copytree(tiny_bert, tmp_path / "bert")
    for folder in (tmp_path / "roberta", tmp_path / "bert"):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 9}))
        with pytest.raises(
            EncoderError, match=r"tokenizer has \d+ tokens, .* vocab_size .* is 9; "
        ):
            load_encoder(str(folder))


def test_cased_folder_keeps_case_and_accents(tmp_path: Path) -> None:
    tiny.write_tiny_bert(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    unknown = tiny.VOCABULARY.index("[UNK]")
    assert tokens(load_encoder(str(tmp_path)), ["Good good café"]) == [
        [unknown, tiny.VOCABULARY.index("good"), unknown]
    ]


def test_dropout_overrides_the_checkpoint(tiny_bert: str, tmp_path: Path) -> None:
    encoder = load_encoder(tiny_bert)
    assert encoder.backbone(0.3).dropout == 0.3
    assert encoder.backbone(0.0).dropout == 0.0
    checkpoints.write_roberta(tmp_path)
    assert load_encoder(str(tmp_path)).backbone(0.2).dropout == 0.2


def test_fingerprint_depends_on_content_but_not_on_path(tiny_bert: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_bert, copy)
    fingerprint = load_encoder(tiny_bert).fingerprint
    assert load_encoder(f"hf://{copy}").fingerprint == fingerprint
    vocabulary = (copy / "vocab.txt").read_text()
    (copy / "vocab.txt").write_text(vocabulary.replace("film", "bilm"))
    assert load_encoder(str(copy)).fingerprint != fingerprint
    (copy / "vocab.txt").write_text(vocabulary)
    tiny.write_tiny_bert(copy, seed=9)
    assert load_encoder(str(copy)).fingerprint != fingerprint


def test_keras_preset_folder_of_bert_equals_the_original(tiny_bert: str, tmp_path: Path) -> None:
    import keras_hub

    original = load_encoder(tiny_bert)
    original.backbone().save_to_preset(str(tmp_path))
    keras_hub.models.BertTokenizer(list(tiny.VOCABULARY), lowercase=True).save_to_preset(
        str(tmp_path)
    )
    encoder = load_encoder(f"keras://{tmp_path}")
    for name, value in run(original).items():
        np.testing.assert_array_equal(run(encoder)[name], value)
    assert tokens(encoder) == tokens(original)
    assert encoder.max_positions == original.max_positions
    assert encoder.start_token_id == original.start_token_id
    assert encoder.backbone(0.25).dropout == 0.25
    assert encoder.fingerprint == load_encoder(f"keras://{tmp_path}").fingerprint
    assert f"keras://{tmp_path}" in message(str(tmp_path))


def test_keras_preset_folder_of_roberta_equals_the_original(tmp_path: Path) -> None:
    import keras_hub

    huggingface, preset = tmp_path / "hf", tmp_path / "keras"
    checkpoints.write_roberta(huggingface)
    original = load_encoder(str(huggingface))
    original.backbone().save_to_preset(str(preset))
    vocabulary = json.loads((huggingface / "vocab.json").read_text()) | {"<mask>": 99}
    merges = (huggingface / "merges.txt").read_text().splitlines()[1:]
    keras_hub.models.RobertaTokenizer(vocabulary, merges).save_to_preset(str(preset))
    encoder = load_encoder(f"keras://{preset}")
    assert tokens(encoder, ["a good goo."]) == tokens(original, ["a good goo."])
    token_ids = TOKEN_IDS % len(checkpoints.ROBERTA_VOCABULARY)
    np.testing.assert_array_equal(
        run(encoder, token_ids)["sequence_output"], run(original, token_ids)["sequence_output"]
    )


@pytest.mark.parametrize("scope", ["", "bert_encoder/"])
def test_hub_module_matches_its_own_implementation(tmp_path: Path, scope: str) -> None:
    folder = tmp_path / "module"
    module = hub_module.write_hub_module(folder, scope=scope)
    expected = module(
        {
            "input_word_ids": tf.constant(TOKEN_IDS),
            "input_mask": tf.constant(MASK),
            "input_type_ids": tf.zeros_like(TOKEN_IDS),
        }
    )
    encoder = load_encoder(f"tfhub://{folder}")
    outputs = run(encoder)
    for name in ("sequence_output", "pooled_output"):
        kept = KEPT if name == "sequence_output" else slice(None)
        np.testing.assert_allclose(outputs[name][kept], expected[name].numpy()[kept], atol=2e-5)
    assert encoder.max_positions == 128
    assert encoder.backbone(0.4).dropout == 0.4


def test_hub_module_flag_decides_whether_text_is_cased(tmp_path: Path, tiny_bert: str) -> None:
    hub_module.write_hub_module(tmp_path / "module_uncased")
    hub_module.write_hub_module(tmp_path / "module_cased", do_lower_case=False)
    uncased = load_encoder(f"tfhub://{tmp_path / 'module_uncased'}")
    assert tokens(uncased) == tokens(load_encoder(tiny_bert))
    unknown = tiny.VOCABULARY.index("[UNK]")
    cased = load_encoder(f"tfhub://{tmp_path / 'module_cased'}")
    assert tokens(cased, ["Good"]) == [[unknown]]
    assert cased.fingerprint != ""
    assert cased.fingerprint != uncased.fingerprint


def test_hub_module_other_than_bert_is_rejected(tmp_path: Path) -> None:
    tf.saved_model.save(tf.train.Checkpoint(variables=[tf.Variable(1.0)]), str(tmp_path))
    assert "has no variable 'word_embeddings/embeddings'" in message(f"tfhub://{tmp_path}")


class FileWriter(tf.saved_model.experimental.TrackableResource):
    """A resource whose initialiser, which loading a SavedModel runs, writes a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

    def _initialize(self) -> None:
        tf.io.write_file(self.path, "written")

    def _destroy_resource(self) -> None:
        pass


def test_hub_module_does_not_run_when_it_is_read(tmp_path: Path) -> None:
    module = hub_module.write_hub_module(tmp_path / "plain")
    written, folder = tmp_path / "written", tmp_path / "hostile"
    module.writer = FileWriter(written)
    tf.saved_model.save(module, str(folder))
    written.unlink(missing_ok=True)
    encoder = load_encoder(f"tfhub://{folder}")
    for name, value in run(load_encoder(f"tfhub://{tmp_path / 'plain'}")).items():
        np.testing.assert_array_equal(run(encoder)[name], value)
    assert tokens(encoder)
    assert not written.exists()
    tf.saved_model.load(str(folder))
    assert written.exists(), "the module is harmless, so this test proves nothing"


@pytest.mark.parametrize("name", ["../../secret.txt", "/etc/hostname"])
def test_hub_vocabulary_outside_the_module_is_rejected(tmp_path: Path, name: str) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    folder = tmp_path / "module"
    hub_module.write_hub_module(folder)
    (tmp_path / "secret.txt").write_text("secret")
    proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    proto.meta_graphs[0].asset_file_def[0].filename = name
    (folder / "saved_model.pb").write_bytes(proto.SerializeToString())
    assert "is outside the module" in message(f"tfhub://{folder}")


def test_missing_hub_module_is_rejected(tmp_path: Path) -> None:
    assert "saved_model.pb" in message(f"tfhub://{tmp_path / 'nothing'}")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("minilmm", 'did you mean "minilm"?'),
        ("MiniLM", 'did you mean "minilm"?'),
        ("kera://bert_tiny_en_uncased", 'did you mean "keras://bert_tiny_en_uncased"?'),
        ("https://example.org/bert", "must be"),
        ("hf://", "must be"),
        ("", "must be"),
        ("keras://bert_tiny_en_uncase", 'did you mean "keras://bert_tiny_en_uncased"?'),
        ("hf://no/such/folder", "the folder does not exist"),
    ],
)
def test_unknown_name_is_rejected_with_a_hint(name: str, hint: str) -> None:
    text = message(name)
    assert hint in text
    assert name in text


def test_unknown_folder_suggests_a_similar_one(tiny_bert: str) -> None:
    assert f'did you mean "{tiny_bert}"?' in message(tiny_bert + "x")


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("config.json", None, "cannot read"),
        ("config.json", "{", "is not JSON"),
        ("config.json", "[]", "must be a JSON object"),
        ("config.json", '{"model_type": "gpt2"}', "'gpt2' in config.json is not supported"),
        ("vocab.txt", None, "cannot read"),
        ("vocab.txt", "[PAD]\n[UNK]\n[CLS]\nfilm\n", "its vocabulary lacks [SEP]"),
        ("tokenizer_config.json", None, "cannot read"),
        ("tokenizer_config.json", '{"tokenizer_class": "BertJapaneseTokenizer"}', "its tokenizer"),
        ("tokenizer_config.json", '{"tokenize_chinese_chars": false}', "its tokenizer"),
        ("model.safetensors", None, "no *.safetensors"),
    ],
)
def test_broken_folder_is_rejected(
    tiny_bert: str, tmp_path: Path, file: str, content: str | None, complaint: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_bert, folder)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    assert complaint in message(str(folder))


def test_weights_that_do_not_fit_the_config_are_rejected(tiny_bert: str, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_bert, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["pooler.dense.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(EncoderError, match=r"weights do not fit .*pooler\.dense\.weight") as caught:
        load_encoder(str(folder)).backbone()
    assert "\n" not in str(caught.value)


def test_minilm_with_changed_weights_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write_tiny_bert(tmp_path / "model")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    assert "must have the SHA-256 53aa51172d14" in message("minilm")
    (tmp_path / "model" / "model.safetensors").unlink()
    assert "received no file" in message("minilm")


def test_missing_minilm_package_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "pip install" in message("minilm")


@pytest.mark.slow
def test_minilm_embeds_related_sentences_close_together() -> None:
    encoder = load_encoder("minilm")
    ids = (encoder.start_token_id, encoder.end_token_id, encoder.pad_token_id)
    assert ids == (101, 102, 0)
    assert encoder.max_positions == 512
    assert tokens(encoder, ["naïve café"]) == [[15743, 7668]]
    backbone = encoder.backbone()
    assert (backbone.num_layers, backbone.hidden_dim) == (6, 384)
    # With mean pooling, as in the model's training, related sentences are closer than others.
    sentences = ["The film was wonderful.", "I loved this movie.", "The bus stops here."]
    rows = encoder.tokenizer()(tf.constant(sentences)).to_tensor().numpy().astype(np.int32)
    mask = (rows != 0).astype(np.int32)
    inputs = {"token_ids": rows, "segment_ids": np.zeros_like(rows), "padding_mask": mask}
    output = np.asarray(backbone(inputs)["sequence_output"]) * mask[..., None]
    means = output.sum(1) / mask.sum(1, keepdims=True)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    similarity = means @ means.T
    assert similarity[0, 1] > 0.5 > 0.2 > similarity[0, 2]


def test_finding_an_encoder_does_not_import_tensorflow(tiny_bert: str) -> None:
    code = (
        "import sys; from modules.encoders.names import load_encoder;"
        "load_encoder(sys.argv[1]).fingerprint;"
        "print(sorted({'tensorflow', 'keras', 'keras_hub', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tiny_bert], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"
