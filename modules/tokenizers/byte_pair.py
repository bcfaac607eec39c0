"""RoBERTa's tokenizer, byte-level BPE, as TensorFlow ops.

keras-hub's tokenizer has a growing cache in a mutable table, which is unsuitable for a server, and
splits text differently in eager mode and in a graph. This one only uses integers and constants.

Method: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (GPT-2), whose
``encoder.py`` is the reference; RoBERTa uses the same tokens. Two differences are intentional:
special tokens written in a text are plain text, and a word (or run of white space) of more than 256
bytes is cut before merging, so that no text can block the server.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import tensorflow as tf

from modules.tokenizers import bert_unicode, byte_pair_unicode

_MAX_BYTES_PER_WORD: Final = 256
_NO_MERGE: Final = 2**63 - 1
#: A pair of ids as one number: left * base + right.
_PAIR_BASE: Final = 2**32
#: Separates words. Valid UTF-8, and therefore any text, never contains this byte.
_CUT: Final = b"\xff"
# U+000B, U+000C and U+0085 are white space in regular expressions, but not in BERT.
_SPACE: Final = bert_unicode.character_class(bert_unicode.WHITESPACE, "20 b-c 85")
# RE2 has no lookahead. GPT-2's \s+(?!\S) becomes a first pass that cuts before a run's last space.
_SPACES_BEFORE_WORD: Final = rf"([{_SPACE}]+)([{_SPACE}][^{_SPACE}])"
_LETTER: Final = bert_unicode.character_class(byte_pair_unicode.LETTERS)
_NUMBER: Final = bert_unicode.character_class(byte_pair_unicode.NUMBERS)
_WORD: Final = (
    rf"'s|'t|'re|'ve|'m|'ll|'d| ?[{_LETTER}]+| ?[{_NUMBER}]+"
    rf"| ?[^{_SPACE}{_LETTER}{_NUMBER}]+|[{_SPACE}]+"
)


class BytePairTokenizer(tf.Module):
    """Tokenizer from text to byte-level BPE ids, without special tokens.

    Vocabulary and merges are constants in every graph that calls the tokenizer.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Sequence[str],
        *,
        add_prefix_space: bool = False,
        unknown_token: str = "<unk>",
    ) -> None:
        """Index the vocabulary.

        Args:
            vocabulary: token -> id, with tokens in GPT-2's printable form of bytes.
            merges: "left right" pairs, in order of rank.
            add_prefix_space: read texts as if they began with a space.
            unknown_token: token for bytes that are not in the vocabulary.
        """
        super().__init__(name="byte_pair_tokenizer")
        self._add_prefix_space = add_prefix_space
        unknown = vocabulary.get(unknown_token, 0)
        self._byte_ids = np.array(
            [vocabulary.get(character, unknown) for character in _printable_bytes()], np.int64
        )
        pairs = [merge.split(" ") for merge in merges]
        keys = [vocabulary[left] * _PAIR_BASE + vocabulary[right] for left, right in pairs]
        # By rank.
        self._merged = np.array([vocabulary[left + right] for left, right in pairs], np.int64)
        # Binary search in sorted keys needs no table to initialise or track.
        self._ranks = np.argsort(np.array(keys, np.int64), kind="stable")
        self._keys = np.array(keys, np.int64)[self._ranks]

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Tokenize texts.

        Args:
            texts: tf.string[batch], valid UTF-8, as returned by ``preprocessing.clean_text``.

        Returns:
            Ragged int64[batch, tokens of the text].
        """
        words = self._split(texts)
        # Each distinct word is merged only once.
        unique, index = tf.unique(words.flat_values, out_idx=tf.int64)
        tokens = tf.gather(self._merge(unique), index)
        return words.with_flat_values(tokens).merge_dims(1, 2)

    def _split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Split texts into ragged string[batch, words], each word with its preceding space."""
        if self._add_prefix_space:
            needs_space = tf.logical_not(tf.strings.regex_full_match(texts, rf"(?s)[{_SPACE}].*|"))
            texts = tf.where(needs_space, tf.strings.join([" ", texts]), texts)
        texts = tf.strings.regex_replace(texts, _SPACES_BEFORE_WORD, rb"\1" + _CUT + rb"\2")
        texts = tf.strings.regex_replace(texts, _WORD, _CUT + rb"\0")
        words = tf.strings.split(texts, _CUT)
        return tf.ragged.boolean_mask(words, words.with_flat_values(words.flat_values != b""))

    def _merge(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Convert words string[n] to ragged int64[n, tokens]."""
        symbols = tf.strings.bytes_split(words)
        rows = symbols.value_rowids()
        column = tf.range(tf.size(rows, tf.int64)) - tf.gather(symbols.row_starts(), rows)
        # Merges never cross pieces. A piece is a word or a part of an overlong word.
        pieces = tf.cumsum(tf.cast(column % _MAX_BYTES_PER_WORD == 0, tf.int64)) - 1
        byte = tf.reshape(tf.io.decode_raw(symbols.flat_values, tf.uint8), [-1])
        ids = tf.gather(tf.constant(self._byte_ids), tf.cast(byte, tf.int32))
        ids, _, rows, _ = tf.while_loop(
            lambda ids, pieces, rows, more: more,
            lambda ids, pieces, rows, more: self._merge_once(ids, pieces, rows),
            [ids, pieces, rows, tf.size(ids) > 1],
            shape_invariants=[tf.TensorShape([None])] * 3 + [tf.TensorShape([])],
        )
        return tf.RaggedTensor.from_value_rowids(
            ids, rows, nrows=tf.size(words, tf.int64), validate=False
        )

    def _merge_once(
        self, ids: tf.Tensor, pieces: tf.Tensor, rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Merge the pair of lowest rank in every piece, and the leftmost if there are several.

        Args:
            ids: int64[symbols].
            pieces: int64[symbols], the piece that each symbol belongs to, numbered without gaps.
            rows: int64[symbols], the word that each symbol belongs to.

        Returns:
            The shortened arguments, and a bool scalar: whether anything was merged.
        """
        left = pieces[:-1]
        ranks = tf.where(left == pieces[1:], self._rank(ids), _NO_MERGE)
        order = tf.range(tf.size(ranks, tf.int64))
        best_rank = tf.gather(tf.math.segment_min(ranks, left), left)
        candidate = (ranks == best_rank) & (ranks != _NO_MERGE)
        leftmost = tf.math.segment_min(tf.where(candidate, order, _NO_MERGE), left)
        chosen = order == tf.gather(leftmost, left)
        merged = tf.gather(tf.constant(self._merged), tf.where(chosen, ranks, 0))
        ids = tf.concat([tf.where(chosen, merged, ids[:-1]), ids[-1:]], axis=0)
        kept = tf.concat([[True], tf.logical_not(chosen)], axis=0)
        return (
            tf.boolean_mask(ids, kept),
            tf.boolean_mask(pieces, kept),
            tf.boolean_mask(rows, kept),
            tf.reduce_any(chosen),
        )

    def _rank(self, ids: tf.Tensor) -> tf.Tensor:
        """Return the rank of each adjacent pair, int64[symbols - 1]; ``_NO_MERGE`` for none."""
        pairs = ids[:-1] * _PAIR_BASE + ids[1:]
        keys = tf.constant(self._keys)
        place = tf.minimum(tf.searchsorted(keys, pairs, out_type=tf.int64), len(self._keys) - 1)
        found = tf.gather(keys, place) == pairs
        return tf.where(found, tf.gather(tf.constant(self._ranks), place), _NO_MERGE)


def _printable_bytes() -> list[str]:
    """Return the character that represents each byte in GPT-2's vocabulary.

    Printable Latin-1 characters represent themselves; other bytes become characters from U+0100.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(b) if b in printable else chr(0x100 + others.index(b)) for b in range(256)]
