"""Conversion of text to token ids, shared by Transform, training and serving."""

import concurrent.futures
from collections.abc import Callable, Mapping
from typing import Any, Final

import tensorflow as tf

from modules.contract import features
from modules.contract.errors import UserError
from modules.contract.hparams import TextSettings, Truncation
from modules.encoders.names import Encoder, load_encoder
from modules.tokenizers import bert_unicode

# RE2 accepts surrogates, which are not valid UTF-8.
_VALID: Final = r"[\x{0}-\x{d7ff}\x{e000}-\x{10ffff}]*"
_WIDE_SPACE: Final = bert_unicode.character_class(bert_unicode.WHITESPACE, "b-c 85")
#: Runs that collapse to one space. Single spaces do not match, so that most texts cost nothing.
_SPACES: Final = f"[{_WIDE_SPACE}][ {_WIDE_SPACE}]*| [ {_WIDE_SPACE}]+"
_CONTROLS: Final = f"[{bert_unicode.character_class('0-8 e-1f 7f-84 86-9f feff')}]+"

# Only known elements with well-formed attributes are tags: "a <b and c> d" is text.
_ATTRIBUTES: Final = r"""(?:\s+[a-z][a-z0-9:-]*(?:\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+)))*"""
_BLOCKS: Final = (
    "br|p|div|hr|ul|ol|li|dl|dt|dd|table|thead|tbody|tr|td|th|h[1-6]|blockquote|pre|section|article"
)
_INLINE: Final = "b|i|u|em|strong|span|font|small|big|sub|sup|code|tt|a|img"
_BLOCK_TAG: Final = rf"(?i)</?(?:{_BLOCKS}){_ATTRIBUTES}\s*/?>"
_INLINE_TAG: Final = rf"(?i)</?(?:{_INLINE}){_ATTRIBUTES}\s*/?>"
#: The ampersand is last so that "&amp;lt;" becomes "&lt;" and not "<".
_ENTITIES: Final = {
    "lt|#60|#x3c": "<",
    "gt|#62|#x3e": ">",
    "quot|#34|#x22": '"',
    "apos|#0?39|#x27": "'",
    "nbsp|#160|#xa0": " ",
    "lsquo|#8216": "\u2018",
    "rsquo|#8217": "\u2019",
    "ldquo|#8220": "\u201c",
    "rdquo|#8221": "\u201d",
    "ndash|#8211": "\u2013",
    "mdash|#8212": "\u2014",
    "hellip|#8230": "\u2026",
    "amp|#38|#x26": "&",
}
_SOME_MARKUP: Final = r"(?s).*(?:<[/a-zA-Z]|&[#a-zA-Z]).*"

#: Start token, one token of the text, end token.
_SHORTEST: Final = 3


def clean_text(texts: tf.Tensor) -> tf.Tensor:
    """Normalise raw text and remove its markup.

    Rules, in order:

    - Bytes that are not UTF-8 become U+FFFD.
    - Tags of common HTML elements are removed: block elements and line breaks become a space,
      inline elements nothing. Other angle brackets stay: "a < b", "<3", "<unknown>".
    - Common HTML entities are decoded once.
    - Control characters and byte order marks are removed.
    - Runs of white space become one space; leading and trailing white space is removed.

    Case, accents, punctuation and emoji are kept.

    Args:
        texts: tf.string[...], any bytes.

    Returns:
        tf.string[...] of the same shape, valid UTF-8.
    """
    shape = tf.shape(texts)
    flat = tf.reshape(texts, [-1])
    flat = _where(tf.logical_not(tf.strings.regex_full_match(flat, _VALID)), _replace_invalid, flat)
    flat = _where(tf.strings.regex_full_match(flat, _SOME_MARKUP), _remove_markup, flat)
    flat = tf.strings.regex_replace(flat, _CONTROLS, "")
    flat = tf.strings.regex_replace(flat, _SPACES, " ")
    cleaned = tf.reshape(tf.strings.strip(flat), shape)
    cleaned.set_shape(texts.shape)
    return cleaned


def tokenize(texts: tf.Tensor, settings: TextSettings, encoder: Encoder) -> tf.RaggedTensor:
    """Clean and tokenize raw texts into the sequences that the encoder reads.

    Args:
        texts: tf.string[batch], any bytes.
        settings: length and truncation; the name of the encoder is ignored.
        encoder: encoder with the tokenizer and special tokens to use.

    Returns:
        Ragged int64[batch, <= settings.max_length], including start and end tokens.

    Raises:
        UserError: the encoder cannot read texts of ``settings.max_length``, or the truncation is
            unknown.
    """
    if not _SHORTEST <= settings.max_length <= encoder.max_positions:
        raise UserError(
            f"max_length {settings.max_length} does not fit encoder {encoder.name}; must be from "
            f"{_SHORTEST} to {encoder.max_positions}; set trainer.max_length"
        )
    tokens = encoder.tokenizer()(clean_text(texts))
    tokens = truncate(tokens, settings.max_length - 2, settings.truncation)
    column = tf.stack([tokens.nrows(), 1])
    start = tf.fill(column, tf.constant(encoder.start_token_id, tf.int64))
    end = tf.fill(column, tf.constant(encoder.end_token_id, tf.int64))
    return tf.concat([start, tokens, end], axis=1)


def truncate(tokens: tf.RaggedTensor, length: int, truncation: Truncation) -> tf.RaggedTensor:
    """Keep at most ``length`` tokens of each text.

    "head+tail" follows Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?", which
    keeps the first 128 and the last 382 tokens in a sequence of 512. The head is a quarter of the
    sequence length, including start and end tokens.

    Args:
        tokens: ragged int64[batch, tokens of the text], without special tokens.
        length: number of tokens to keep, at least 1.
        truncation: part of a longer text to keep.

    Returns:
        Ragged int64[batch, <= length].

    Raises:
        UserError: ``truncation`` is not "head", "tail" or "head+tail".
    """
    if truncation == "head":
        return tokens[:, :length]
    if truncation == "tail":
        return tokens[:, -length:]
    if truncation == "head+tail":
        head = (length + 2) // 4
        return tf.concat([tokens[:, :head], tokens[:, head:][:, head - length :]], axis=1)
    raise UserError(
        f'truncation "{truncation}" is unknown; must be head, tail or head+tail; '
        "set trainer.truncation"
    )


def preprocessing_fn(inputs: Mapping[str, Any], custom_config: Mapping[str, Any]) -> dict[str, Any]:
    """Transform raw examples; called by TFX.

    The label may be missing in serving; TFT then omits ``label_id``.

    Args:
        inputs: ``text`` and ``label``, tf.string[batch] or [batch, 1], dense or sparse. Others are
            ignored.
        custom_config: ``text``, a ``TextSettings`` as JSON; other keys only enter TFX's cache key.

    Returns:
        ``text``: tf.string[batch], the unchanged bytes.
        ``token_ids``: sparse int64[batch, longest of the batch], including start and end tokens.
        ``label_id``: int64[batch], index in the vocabulary named ``features.LABEL_VOCABULARY``,
        most frequent label first; -1 for a label that is not in the train split.

    Raises:
        UserError: the encoder cannot be loaded, or does not fit the text settings.
    """
    # Imported here because training and export share this module and do not need TFT.
    import tensorflow_transform as tft

    settings = TextSettings.from_json(custom_config["text"])
    encoder = _load_outside_the_graph(settings.encoder)
    texts = _one_per_example(inputs[features.TEXT])
    outputs = {
        features.TEXT: texts,
        features.TOKEN_IDS: tokenize(texts, settings, encoder).to_sparse(),
    }
    if features.LABEL in inputs:
        outputs[features.LABEL_ID] = tft.compute_and_apply_vocabulary(
            _one_per_example(inputs[features.LABEL]),
            default_value=-1,
            vocab_filename=features.LABEL_VOCABULARY,
        )
    return outputs


def _load_outside_the_graph(name: str) -> Encoder:
    """Load the encoder in another thread, outside the graph that is being traced.

    keras-hub and TF Hub create variables when they read a checkpoint, which is not possible while
    a graph is traced, not even in ``tf.init_scope``.
    """
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as outside:
        return outside.submit(load_encoder, name).result()


def _one_per_example(values: tf.Tensor | tf.SparseTensor) -> tf.Tensor:
    """Return a column as tf.string[batch], with "" for missing values."""
    if isinstance(values, tf.SparseTensor):
        # The dense shape is [batch, 0] if no example has a value.
        values = tf.sparse.to_dense(
            tf.sparse.reset_shape(values, tf.stack([values.dense_shape[0], 1])), default_value=""
        )
    return tf.reshape(values, [-1])


def _where(
    mask: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor], texts: tf.Tensor
) -> tf.Tensor:
    """Apply ``change`` only to the texts in the mask, so that it costs nothing for the others."""

    def change_some() -> tf.Tensor:
        changed = change(tf.boolean_mask(texts, mask))
        return tf.tensor_scatter_nd_update(texts, tf.where(mask), changed)

    return tf.cond(tf.reduce_any(mask), change_some, lambda: texts)


def _replace_invalid(texts: tf.Tensor) -> tf.Tensor:
    return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")


def _remove_markup(texts: tf.Tensor) -> tf.Tensor:
    texts = tf.strings.regex_replace(texts, _BLOCK_TAG, " ")
    texts = tf.strings.regex_replace(texts, _INLINE_TAG, "")
    for names, character in _ENTITIES.items():
        texts = tf.strings.regex_replace(texts, f"(?i)&(?:{names});", character)
    return texts
