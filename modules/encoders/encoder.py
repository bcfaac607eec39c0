"""The interface of an encoder: its weights, its tokenizer and the properties that others need."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from modules.contract.errors import EncoderError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class Tokenizer(Protocol):
    """A tokenizer of TensorFlow ops, usable in any graph and exported with the model."""

    def __call__(self, texts: "tf.Tensor") -> "tf.RaggedTensor":
        """Map tf.string[batch] to ragged int64[batch, tokens], without special tokens."""


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A pretrained encoder.

    Attributes:
        name: its name in the config.
        start_token_id: id of the first token of every sequence.
        end_token_id: id of the last token of every sequence.
        pad_token_id: id of padding.
        max_positions: longest sequence the encoder can read, in tokens, including start and end.
        make_tokenizer: see ``tokenizer``.
        make_backbone: see ``backbone``.
        make_fingerprint: see ``fingerprint``.
        unknown_token_id: id of the unknown token; None if the vocabulary covers every text.
    """

    name: str
    start_token_id: int
    end_token_id: int
    pad_token_id: int
    max_positions: int
    make_tokenizer: Callable[[], Tokenizer] = dataclasses.field(repr=False)
    make_backbone: Callable[[float | None], "keras.Model"] = dataclasses.field(repr=False)
    make_fingerprint: Callable[[], str] = dataclasses.field(repr=False)
    unknown_token_id: int | None = None

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of weights and vocabulary in hex, independent of the folder's path."""
        return self.make_fingerprint()

    def tokenizer(self) -> Tokenizer:
        """Create the checkpoint's tokenizer."""
        return self.make_tokenizer()

    def backbone(self, dropout: float | None = None) -> "keras.Model":
        """Create a keras-hub backbone with the pretrained weights.

        Args:
            dropout: rate inside the encoder; None keeps the checkpoint's own.

        Returns:
            A BERT backbone takes int32[batch, length] ``token_ids``, ``segment_ids`` and
            ``padding_mask`` and returns ``sequence_output`` float[batch, length, width] and
            ``pooled_output`` float[batch, width]. DistilBERT and RoBERTa have no ``segment_ids``
            and return only the sequence output.

        Raises:
            EncoderError: the weights do not fit the checkpoint's config.
        """
        return self.make_backbone(dropout)


def backbone_arguments(dropout: float | None) -> dict[str, Any]:
    """Return keyword arguments that override a checkpoint's own config."""
    return {} if dropout is None else {"dropout": dropout}


def find_tokens(name: str, vocabulary: Mapping[str, int], tokens: Sequence[str]) -> list[int]:
    """Return the ids of special tokens.

    Args:
        name: the encoder's name, for the error message.
        vocabulary: token -> id.
        tokens: the tokens to look up.

    Raises:
        EncoderError: the vocabulary lacks one of the tokens.
    """
    missing = [token for token in tokens if token not in vocabulary]
    if missing:
        raise EncoderError(
            f"encoder {name}: its vocabulary lacks {', '.join(missing)}; "
            "use the vocabulary that belongs to the checkpoint"
        )
    return [vocabulary[token] for token in tokens]


def wordpiece_encoder(
    name: str,
    vocabulary: Sequence[str],
    *,
    lowercase: bool,
    strip_accents: bool,
    special_tokens: Mapping[str, str] | None = None,
    max_positions: int,
    make_backbone: Callable[[float | None], "keras.Model"],
    make_fingerprint: Callable[[], str],
) -> Encoder:
    """Create an encoder that reads BERT's WordPiece tokens.

    Args:
        name: its name in the config.
        vocabulary: tokens in id order.
        lowercase: whether the checkpoint is uncased.
        strip_accents: whether accents are removed before tokenization.
        special_tokens: names that differ from BERT's, by role: "cls", "sep", "pad", "unk".
        max_positions: see ``Encoder``.
        make_backbone: see ``Encoder``.
        make_fingerprint: see ``Encoder``.

    Raises:
        EncoderError: the vocabulary lacks a special token.
    """
    roles = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "unk": "[UNK]"} | dict(
        special_tokens or {}
    )
    ids = {token: index for index, token in enumerate(vocabulary)}
    start, end, pad, unknown = find_tokens(name, ids, list(roles.values()))

    def make_tokenizer() -> Tokenizer:
        # Imported here because a machine that only trains does not need tensorflow_text.
        from modules.tokenizers.wordpiece import WordPieceTokenizer

        return WordPieceTokenizer(
            vocabulary,
            lowercase=lowercase,
            strip_accents=strip_accents,
            unknown_token=roles["unk"],
        )

    return Encoder(
        name,
        start,
        end,
        pad,
        max_positions,
        make_tokenizer,
        make_backbone,
        make_fingerprint,
        unknown_token_id=unknown,
    )


def byte_pair_encoder(
    name: str,
    vocabulary: Mapping[str, int],
    merges: Sequence[str],
    *,
    add_prefix_space: bool = False,
    max_positions: int,
    make_backbone: Callable[[float | None], "keras.Model"],
    make_fingerprint: Callable[[], str],
) -> Encoder:
    """Create an encoder that reads RoBERTa's byte-level BPE tokens.

    Args:
        name: its name in the config.
        vocabulary: token -> id.
        merges: "left right" pairs, in order of rank.
        add_prefix_space: whether texts are read as if they began with a space.
        max_positions: see ``Encoder``.
        make_backbone: see ``Encoder``.
        make_fingerprint: see ``Encoder``.

    Raises:
        EncoderError: the vocabulary lacks a special token.
    """
    start, end, pad = find_tokens(name, vocabulary, ["<s>", "</s>", "<pad>"])

    def make_tokenizer() -> Tokenizer:
        from modules.tokenizers.byte_pair import BytePairTokenizer

        return BytePairTokenizer(vocabulary, merges, add_prefix_space=add_prefix_space)

    return Encoder(
        name, start, end, pad, max_positions, make_tokenizer, make_backbone, make_fingerprint
    )


def digest_file(path: str) -> str:
    """Return the SHA-256 of a file in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_files(paths: Iterable[str]) -> str:
    """Return the SHA-256 in hex of the base names and contents of files, but not their folder."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{os.path.basename(path)} {digest_file(path)}\n".encode())
    return total.hexdigest()
