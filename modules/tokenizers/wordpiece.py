"""BERT's tokenizer as TensorFlow ops: equal, token for token, to the reference ``BertTokenizer``.

keras-hub's tokenizer and tensorflow_text's ``FastBertTokenizer`` differ from the reference on text
that people do write: case folding turns "ß" into "ss" and "²" into "2", joiners become word breaks,
words are cut off by bytes where the reference counts characters. So the steps stand here, each the
reference's own; only WordPiece itself is tensorflow_text's.

Reference: ``BasicTokenizer`` and ``WordpieceTokenizer`` of google-research/bert, as the Rust
``tokenizers`` library implements them. One difference is meant: "[SEP]" written in a text is
punctuation and letters here, never the special token, so that no text can forge one.
"""

import functools
from collections.abc import Sequence
from typing import Final

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from modules.tokenizers import bert_unicode

_MAX_CHARACTERS_PER_WORD: Final = 100
#: The op counts bytes; no word of 100 characters is longer than this.
_MAX_BYTES_PER_WORD: Final = 4 * _MAX_CHARACTERS_PER_WORD
_TOO_LONG: Final = "x" * (_MAX_BYTES_PER_WORD + 1)

_REMOVED: Final = f"[{bert_unicode.character_class(bert_unicode.REMOVED)}]+"
_WHITESPACE: Final = f"[{bert_unicode.character_class(bert_unicode.WHITESPACE)}]+"
_ACCENTS: Final = f"[{bert_unicode.character_class(bert_unicode.ACCENTS)}]+"
_WORD_OF_ITS_OWN: Final = (
    f"[{bert_unicode.character_class(bert_unicode.PUNCTUATION, bert_unicode.CJK)}]"
)


class WordPieceTokenizer(tf.Module):
    """Text to WordPiece ids, without special tokens.

    The vocabulary is a constant of every graph that calls the tokenizer: nothing to initialise, no
    file to find again when a SavedModel moves.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        lowercase: bool,
        strip_accents: bool,
        unknown_token: str = "[UNK]",
    ) -> None:
        """Compile the vocabulary.

        Args:
            vocabulary: tokens in id order.
            lowercase: the checkpoint is uncased.
            strip_accents: remove non-spacing marks; the reference does so when it lowercases,
                unless told otherwise.
            unknown_token: what a word without pieces becomes.
        """
        super().__init__(name="wordpiece_tokenizer")
        self._lowercase = lowercase
        self._strip_accents = strip_accents
        self._model = _compile_vocabulary(tuple(vocabulary), unknown_token)

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Tokenize.

        Args:
            texts: tf.string[batch], valid UTF-8 (``preprocessing.clean_text`` makes it so).

        Returns:
            Ragged int64[batch, tokens of the text].
        """
        words = tf.strings.split(self._normalize(texts))
        words = words.with_flat_values(_replace_long_words(words.flat_values))
        pieces = tf_text.FastWordpieceTokenizer(
            model_buffer=tf.constant(self._model), token_out_type=tf.int64
        ).tokenize(words)
        return pieces.merge_dims(-2, -1)

    def _normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """Clean, strip accents, lowercase and set single-character words apart, in that order."""
        texts = tf.strings.regex_replace(texts, _REMOVED, "")
        texts = tf.strings.regex_replace(texts, _WHITESPACE, " ")
        if self._strip_accents:
            texts = tf_text.normalize_utf8(texts, "NFD")
            texts = tf.strings.regex_replace(texts, _ACCENTS, "")
        if self._lowercase:
            texts = _lowercase(texts)
        return tf.strings.regex_replace(texts, _WORD_OF_ITS_OWN, r" \0 ")


def _lowercase(texts: tf.Tensor) -> tf.Tensor:
    """Lowercase character by character, in no language.

    ICU would lowercase by context (a final sigma) and by the server's locale (a Turkish "I").
    """
    texts = tf.strings.lower(texts)
    texts = tf.strings.regex_replace(texts, "\u03a3", "\u03c3")
    return tf.strings.lower(texts, encoding="utf-8")


def _replace_long_words(words: tf.Tensor) -> tf.Tensor:
    """Make words of more than 100 characters unknown, as the reference does."""

    def replace() -> tf.Tensor:
        too_long = tf.strings.length(words, unit="UTF8_CHAR") > _MAX_CHARACTERS_PER_WORD
        return tf.where(too_long, _TOO_LONG, words)

    some_long = tf.reduce_any(tf.strings.length(words) > _MAX_CHARACTERS_PER_WORD)
    return tf.cond(some_long, replace, lambda: words)


@functools.lru_cache(maxsize=8)
def _compile_vocabulary(vocabulary: tuple[str, ...], unknown_token: str) -> np.ndarray:
    """The WordPiece automaton as bytes; a fifth of a second for 30,000 tokens, so it is kept.

    Method: Song et al. 2021, "Fast WordPiece Tokenization".
    """
    with tf.init_scope(), tf.device("CPU:0"):
        tokenizer = tf_text.FastWordpieceTokenizer(
            list(vocabulary),
            max_bytes_per_word=_MAX_BYTES_PER_WORD,
            unknown_token=unknown_token,
            no_pretokenization=True,
        )
        return np.asarray(tokenizer._model)
