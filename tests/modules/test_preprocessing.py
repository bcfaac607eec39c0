"""Cleaning, truncation and tokenization of text, in Transform and in a served graph."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from modules.contract import features
from modules.contract.errors import UserError
from modules.contract.hparams import TextSettings
from modules.encoders.names import Encoder, load_encoder
from modules.preprocessing import (
    _one_per_example,
    clean_text,
    preprocessing_fn,
    tokenize,
    truncate,
)
from tests import tiny_bert as tiny
from tests.modules import checkpoints
from tests.modules.tokenizers import torture

CLEANED = [
    # Markup is removed.
    ("one<br />two<br>three<BR/>four", "one two three four"),
    ("<p>one</p><p class=\"x\" id='y'>two</p>", "one two"),
    ("<div><h1>Title</h1>text</div>", "Title text"),
    ("un<b>believ</b>able <i>film</i>", "unbelievable film"),
    ('see <a href="http://x.org/?a=1&b=2">this</a>.', "see this."),
    ("<img src=x.png/>after", "after"),
    # Content is kept.
    ("a < b and c > d", "a < b and c > d"),
    ("I <3 this", "I <3 this"),
    ("a <b and c> d", "a <b and c> d"),
    ("<unknown> <sarcasm>great</sarcasm>", "<unknown> <sarcasm>great</sarcasm>"),
    ("if x<br then", "if x<br then"),
    ("->-> <- << >> <>", "->-> <- << >> <>"),
    ("List<String> and <brilliant>", "List<String> and <brilliant>"),
    ("AT&T R&D &c; &unknown; 5 & 6", "AT&T R&D &c; &unknown; 5 & 6"),
    # Entities are decoded once.
    ("Tom &amp; Jerry &quot;live&quot; &#39;now&#39;", "Tom & Jerry \"live\" 'now'"),
    ("&lt;br&gt; 1 &lt; 2&nbsp;!", "<br> 1 < 2 !"),
    ("&amp;lt;", "&lt;"),
    ("&ldquo;so&hellip;&rdquo; &MDASH; it&rsquo;s", "“so…” — it’s"),
    # Control characters are removed, white space collapses.
    ("a\x00b\x07c\x7fd\x9fe\ufefff", "abcdef"),
    ("  a \t\n b\r\n\x0b\x0c\x85c\u00a0\u2003\u3000d \u2028 ", "a b c d"),
    ("plain text", "plain text"),
    ("", ""),
    (" \n", ""),
    ("café 👨‍👩‍👧 中文 ñ Ω", "café 👨‍👩‍👧 中文 ñ Ω"),
]


@pytest.fixture(scope="module")
def encoder(tiny_bert: str) -> Encoder:
    return load_encoder(tiny_bert)


def words(encoder: Encoder, texts: list[str], **settings: Any) -> list[list[str]]:
    rows = tokenize(tf.constant(texts), TextSettings(**settings), encoder).to_list()
    return [[tiny.VOCABULARY[i] for i in row] for row in rows]


def test_clean_text_follows_its_rules() -> None:
    cleaned = clean_text(tf.constant([raw for raw, _ in CLEANED])).numpy()
    assert [text.decode() for text in cleaned] == [clean for _, clean in CLEANED]


def test_clean_text_replaces_invalid_utf8() -> None:
    raw = [b"caf\xe9!", b"\xed\xa0\x80", b"ok", b"\xe4\xbd", b"a\xffb"]
    cleaned = [text.decode("utf-8") for text in clean_text(tf.constant(raw)).numpy()]
    assert cleaned[0] == "caf\ufffd!"
    assert set(cleaned[1]) == {"\ufffd"}
    assert cleaned[2] == "ok"
    assert set(cleaned[3]) == {"\ufffd"}
    assert cleaned[4] == "a\ufffdb"


def test_clean_text_keeps_every_shape() -> None:
    grid = tf.constant([["a<br>b", "c"], ["d ", " e"]])
    assert clean_text(grid).numpy().tolist() == [[b"a b", b"c"], [b"d", b"e"]]
    assert clean_text(tf.constant(" x ")).numpy() == b"x"
    assert clean_text(tf.zeros([0], tf.string)).shape == [0]


def test_clean_text_is_idempotent() -> None:
    once = clean_text(tf.constant([*torture.TEXTS, *torture.random_texts(2000, seed=3)]))
    assert tf.reduce_all(clean_text(once) == once)


def test_tokens_are_enclosed_by_start_and_end(encoder: Encoder) -> None:
    assert words(encoder, ["A good<br />FILM!", ""]) == [
        ["[CLS]", "a", "good", "film", "!", "[SEP]"],
        ["[CLS]", "[SEP]"],
    ]


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [("head", "0123456789"), ("tail", "klmnopqrst"), ("head+tail", "012klmnopqrst")],
)
def test_truncation_keeps_the_chosen_part(encoder: Encoder, truncation: str, kept: str) -> None:
    text = " ".join("0123456789abcdefghijklmnopqrst")
    max_length = len(kept) + 2
    (row,) = words(encoder, [text], max_length=max_length, truncation=truncation)
    assert row == ["[CLS]", *kept, "[SEP]"]


@pytest.mark.parametrize("truncation", ["head", "tail", "head+tail"])
def test_short_texts_are_not_truncated(encoder: Encoder, truncation: str) -> None:
    text = " ".join("abcdefgh")
    for max_length in (10, 11, 40):
        (row,) = words(encoder, [text], max_length=max_length, truncation=truncation)
        assert row == ["[CLS]", *"abcdefgh", "[SEP]"]


def test_head_and_tail_match_the_paper() -> None:
    (row,) = truncate(tf.ragged.range([1000]), 510, "head+tail").to_list()
    assert row == [*range(128), *range(1000 - 382, 1000)]


@pytest.mark.parametrize("truncation", ["head", "tail", "head+tail"])
@pytest.mark.parametrize("max_length", [3, 4, 5, 17])
def test_no_text_is_longer_than_max_length(
    encoder: Encoder, truncation: str, max_length: int
) -> None:
    texts = [*torture.TEXTS, "a " * 5000]
    rows = tokenize(tf.constant(texts), TextSettings("", max_length, truncation), encoder)
    assert int(tf.reduce_max(rows.row_lengths())) == max_length
    assert rows.dtype == tf.int64


@pytest.mark.parametrize("max_length", [0, 2, tiny.MAX_POSITIONS + 1])
def test_length_that_the_encoder_cannot_read_is_rejected(encoder: Encoder, max_length: int) -> None:
    with pytest.raises(
        UserError, match=f"max_length {max_length} .* must be from 3 to 512"
    ) as caught:
        tokenize(tf.constant(["a"]), TextSettings("", max_length), encoder)
    assert "\n" not in str(caught.value)


def test_unknown_truncation_is_rejected(encoder: Encoder) -> None:
    settings = TextSettings("", 8, "middle")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r'truncation "middle" .* must be head, tail or head\+tail'):
        tokenize(tf.constant(["a"]), settings, encoder)


def test_column_can_be_dense_or_sparse() -> None:
    expected = [b"a", b"", b"c"]
    dense = tf.constant([["a"], [""], ["c"]])
    sparse = tf.SparseTensor([[0, 0], [2, 0]], ["a", "c"], [3, 1])
    nothing = tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0], tf.string), [3, 0])
    assert _one_per_example(dense).numpy().tolist() == expected
    assert _one_per_example(dense[:, 0]).numpy().tolist() == expected
    assert _one_per_example(sparse).numpy().tolist() == expected
    assert _one_per_example(nothing).numpy().tolist() == [b"", b"", b""]


class Served(tf.Module):
    """A minimal module that tokenizes in its graph."""

    def __init__(self, encoder: Encoder, settings: TextSettings) -> None:
        super().__init__()
        self.encoder_tokenizer = encoder.tokenizer()
        self.encoder, self.settings = encoder, settings

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        return tokenize(texts, self.settings, self.encoder).to_tensor(-1)


@pytest.mark.parametrize("family", ["bert", pytest.param("roberta", marks=pytest.mark.slow)])
def test_saved_model_contains_its_vocabulary(tmp_path: Path, family: str) -> None:
    write = {"bert": tiny.write_tiny_bert, "roberta": checkpoints.write_roberta}[family]
    write(tmp_path / "encoder")
    encoder = load_encoder(str(tmp_path / "encoder"))
    served = Served(encoder, TextSettings(max_length=16, truncation="head+tail"))
    tf.saved_model.save(served, str(tmp_path / "saved"))
    expected = served(tf.constant(torture.TEXTS))
    shutil.rmtree(tmp_path / "encoder")
    (tmp_path / "saved").rename(tmp_path / "moved")
    loaded = tf.saved_model.load(str(tmp_path / "moved"))
    assert tf.reduce_all(loaded(tf.constant(torture.TEXTS)) == expected)
    assert loaded(tf.zeros([0], tf.string)).shape[0] == 0


def text_settings(encoder: str) -> TextSettings:
    return TextSettings(encoder, 16, "head+tail")


def raw_examples() -> list[dict[str, str]]:
    rows = [{"text": text, "label": "good"} for text in torture.TEXTS]
    rows += [{"text": "bad<br />film", "label": "bad, really"}, {"text": "film", "label": "ok"}]
    return [*rows, {"text": "awful", "label": "bad, really"}]


@pytest.fixture(scope="module")
def transform_output(tiny_bert: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Transform's output folder, with the transformed examples next to it in examples.tfrecord."""
    import apache_beam as beam
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    spec = dict.fromkeys((features.TEXT, features.LABEL), tf.io.FixedLenFeature([], tf.string))
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    config = {"text": text_settings(tiny_bert).to_json(), "code_digest": "any"}
    folder = tmp_path_factory.mktemp("transform")
    with (
        beam.Pipeline(runner=FnApiRunner()) as pipeline,
        tft_beam.Context(temp_dir=str(folder / "temporary")),
    ):
        raw = pipeline | beam.Create(raw_examples())
        dataset, transform_fn = (raw, metadata) | tft_beam.AnalyzeAndTransformDataset(
            lambda inputs: preprocessing_fn(inputs, config)
        )
        data, transformed_metadata = dataset
        coder = tft.coders.ExampleProtoCoder(transformed_metadata.schema)
        _ = (
            data
            | beam.Map(coder.encode)
            | beam.io.WriteToTFRecord(str(folder / "examples.tfrecord"), shard_name_template="")
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "output"))
    return folder / "output"


def stored_examples(transform_output: Path) -> dict[str, dict[str, Any]]:
    """Return Transform's output for each text."""
    path = transform_output.parent / "examples.tfrecord"
    rows = {}
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        (text,) = feature[features.TEXT].bytes_list.value
        rows[text.decode()] = {
            features.TOKEN_IDS: list(feature[features.TOKEN_IDS].int64_list.value),
            features.LABEL_ID: list(feature[features.LABEL_ID].int64_list.value),
        }
    return rows


@pytest.mark.slow
def test_transform_writes_the_same_tokens_as_serving(
    transform_output: Path, encoder: Encoder
) -> None:
    rows = stored_examples(transform_output)
    assert rows.keys() == {example["text"] for example in raw_examples()}
    direct = tokenize(tf.constant(list(rows)), text_settings(encoder.name), encoder).to_list()
    assert [row[features.TOKEN_IDS] for row in rows.values()] == direct


@pytest.mark.slow
def test_transform_learns_labels_by_frequency(transform_output: Path) -> None:
    import tensorflow_transform as tft

    output = tft.TFTransformOutput(str(transform_output))
    labels = output.vocabulary_by_name(features.LABEL_VOCABULARY)
    assert labels == [b"good", b"bad, really", b"ok"]
    rows = stored_examples(transform_output)
    assert rows["bad<br />film"][features.LABEL_ID] == [1]
    assert rows["film"][features.LABEL_ID] == [2]
    specs = output.transformed_feature_spec()
    assert specs[features.TOKEN_IDS] == tf.io.VarLenFeature(tf.int64)


@pytest.mark.slow
def test_served_transform_returns_the_same_tokens_without_labels(
    transform_output: Path, tmp_path: Path
) -> None:
    import tensorflow_transform as tft

    class Endpoint(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = tft.TFTransformOutput(str(transform_output)).transform_features_layer()

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, texts: tf.Tensor) -> tf.SparseTensor:
            outputs = self.layer({features.TEXT: texts})
            assert features.LABEL_ID not in outputs
            return outputs[features.TOKEN_IDS]

    rows = stored_examples(transform_output)
    tf.saved_model.save(Endpoint(), str(tmp_path / "saved"))
    (tmp_path / "saved").rename(tmp_path / "moved")
    served = tf.saved_model.load(str(tmp_path / "moved"))(tf.constant(list(rows)))
    tokens = tf.RaggedTensor.from_sparse(served).to_list()
    assert tokens == [row[features.TOKEN_IDS] for row in rows.values()]


@pytest.mark.slow
def test_unknown_label_gets_the_id_minus_one(transform_output: Path) -> None:
    import tensorflow_transform as tft

    layer = tft.TFTransformOutput(str(transform_output)).transform_features_layer()
    texts = tf.constant(["film", "film"])
    ids = layer({features.TEXT: texts, features.LABEL: tf.constant(["ok", "new"])})
    assert ids[features.LABEL_ID].numpy().tolist() == [2, -1]
