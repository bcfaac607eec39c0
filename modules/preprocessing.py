"""Text to token ids: the one function that Transform, training and serving share."""

import concurrent.futures
from collections.abc import Callable, Mapping
from typing import Any, Final

import tensorflow as tf

from modules.contract import features
from modules.contract.errors import UserError
from modules.contract.hparams import TextSettings, Truncation
from modules.encoders.names import Encoder, load_encoder
from modules.tokenizers import bert_unicode

# RE2 takes surrogates for valid; UTF-8 does not.
_VALID: Final = r"[\x{0}-\x{d7ff}\x{e000}-\x{10ffff}]*"
_WIDE_SPACE: Final = bert_unicode.character_class(bert_unicode.WHITESPACE, "b-c 85")
#: What collapses to one space; a lone space is left alone, which makes most texts free.
_SPACES: Final = f"[{_WIDE_SPACE}][ {_WIDE_SPACE}]*| [ {_WIDE_SPACE}]+"
_CONTROLS: Final = f"[{bert_unicode.character_class('0-8 e-1f 7f-84 86-9f feff')}]+"

# A tag is a known element with nothing but well-formed attributes: "a <b and c> d" is text.
_ATTRIBUTES: Final = r"""(?:\s+[a-z][a-z0-9:-]*(?:\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+)))*"""
_BLOCKS: Final = (
    "br|p|div|hr|ul|ol|li|dl|dt|dd|table|thead|tbody|tr|td|th|h[1-6]|blockquote|pre|section|article"
)
_INLINE: Final = "b|i|u|em|strong|span|font|small|big|sub|sup|code|tt|a|img"
_BLOCK_TAG: Final = rf"(?i)</?(?:{_BLOCKS}){_ATTRIBUTES}\s*/?>"
_INLINE_TAG: Final = rf"(?i)</?(?:{_INLINE}){_ATTRIBUTES}\s*/?>"
#: The ampersand is last, so that "&amp;lt;" becomes "&lt;" and not "<".
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

#: Start and end token and one of the text.
_SHORTEST: Final = 3


def clean_text(texts: tf.Tensor) -> tf.Tensor:
    """Make raw text plain: the same words, no markup.

    Rules, in order:

    - Bytes that are no UTF-8 become U+FFFD.
    - Tags of common HTML elements go: block elements and line breaks leave a space, inline ones
      nothing. All other angle brackets stay: "a < b", "<3", "<unknown>".
    - Common HTML entities are decoded, once.
    - Control characters and byte order marks go.
    - White space of any kind and length becomes one space, none at either end.

    Case, accents, punctuation and emoji are content and stay.

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
        settings: length and truncation; its encoder name is not looked at.
        encoder: whose tokenizer and special tokens to use.

    Returns:
        Ragged int64[batch, <= settings.max_length], start and end tokens included.

    Raises:
        UserError: ``settings`` ask for a length that the encoder cannot read, or for a truncation
            that does not exist.
    """
    if not _SHORTEST <= settings.max_length <= encoder.max_positions:
        raise UserError(
            f"max_length {settings.max_length} does not suit encoder {encoder.name}; legal: "
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

    "head+tail" is that of Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?": of a
    sequence of 512, the first 128 tokens of the text and the last 382. So a quarter of the
    sequence, its start and end token counted, is head.

    Args:
        tokens: ragged int64[batch, tokens of the text], without special tokens.
        length: at least 1.
        truncation: which part is kept.

    Raises:
        UserError: ``truncation`` is none of "head", "tail", "head+tail".
    """
    if truncation == "head":
        return tokens[:, :length]
    if truncation == "tail":
        return tokens[:, -length:]
    if truncation == "head+tail":
        head = (length + 2) // 4
        return tf.concat([tokens[:, :head], tokens[:, head:][:, head - length :]], axis=1)
    raise UserError(
        f'truncation "{truncation}" does not exist; legal: head, tail, head+tail; '
        "set trainer.truncation"
    )


def preprocessing_fn(inputs: Mapping[str, Any], custom_config: Mapping[str, Any]) -> dict[str, Any]:
    """Transform raw examples; TFX calls it.

    The label may be missing when a model serves: TFT then leaves ``label_id`` out.

    Args:
        inputs: ``text`` and ``label``, tf.string[batch] or [batch, 1], dense or sparse. More are
            ignored.
        custom_config: ``text``, a ``TextSettings`` as JSON; other keys only enter TFX's cache key.

    Returns:
        ``text``: tf.string[batch], the bytes that came in.
        ``token_ids``: sparse int64[batch, longest of the batch], start and end tokens included.
        ``label_id``: int64[batch], index in the vocabulary named ``features.LABEL_VOCABULARY``,
        the most frequent label first; -1 for a label that the train split does not have.
    """
    # Here, not above: training and export share this module and need no TFT.
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
    """The encoder, read by a thread that traces nothing.

    keras-hub and TF Hub make variables when they read a checkpoint. A graph that is being traced
    forbids them, ``tf.init_scope`` within it, too.
    """
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as outside:
        return outside.submit(load_encoder, name).result()


def _one_per_example(values: tf.Tensor | tf.SparseTensor) -> tf.Tensor:
    """A column as tf.string[batch]; a missing value is an empty string."""
    if isinstance(values, tf.SparseTensor):
        # The dense shape may be [batch, 0] when no example has a value.
        values = tf.sparse.to_dense(
            tf.sparse.reset_shape(values, tf.stack([values.dense_shape[0], 1])), default_value=""
        )
    return tf.reshape(values, [-1])


def _where(
    mask: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor], texts: tf.Tensor
) -> tf.Tensor:
    """Change only the texts of the mask: what few texts need costs the others nothing."""

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
