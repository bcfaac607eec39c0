"""What an encoder is: weights, a tokenizer and the few numbers that others need to know of it."""

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
    """Texts to token ids, as TensorFlow ops: at home in any graph, exported with any model."""

    def __call__(self, texts: "tf.Tensor") -> "tf.RaggedTensor":
        """tf.string[batch] to ragged int64[batch, tokens], without special tokens."""


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A pretrained encoder.

    Attributes:
        name: what the config calls it.
        start_token_id: id that opens every sequence.
        end_token_id: id that closes it.
        pad_token_id: id that fills a batch.
        max_positions: longest sequence the encoder can read, start and end included.
        make_tokenizer: see ``tokenizer``.
        make_backbone: see ``backbone``.
        make_fingerprint: see ``fingerprint``.
        unknown_token_id: id of what the vocabulary lacks; None where nothing is unknown.
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
        """SHA-256, in hex, of weights and vocabulary: the same for a copy in another folder."""
        return self.make_fingerprint()

    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer."""
        return self.make_tokenizer()

    def backbone(self, dropout: float | None = None) -> "keras.Model":
        """A new keras-hub backbone that holds the pretrained weights.

        Args:
            dropout: rate inside the encoder; None keeps the checkpoint's own.

        Returns:
            A BERT backbone reads int32[batch, length] ``token_ids``, ``segment_ids`` and
            ``padding_mask`` and gives ``sequence_output`` float[batch, length, width] and
            ``pooled_output`` float[batch, width]; DistilBERT and RoBERTa have no ``segment_ids``
            and give the sequence output alone.

        Raises:
            EncoderError: the weights do not fit the checkpoint's config.
        """
        return self.make_backbone(dropout)


def backbone_arguments(dropout: float | None) -> dict[str, Any]:
    """Keyword arguments that override a checkpoint's own config."""
    return {} if dropout is None else {"dropout": dropout}


def find_tokens(name: str, vocabulary: Mapping[str, int], tokens: Sequence[str]) -> list[int]:
    """Look up the ids of special tokens.

    Raises:
        EncoderError: the vocabulary lacks one of them.
    """
    missing = [token for token in tokens if token not in vocabulary]
    if missing:
        raise EncoderError(
            f"encoder {name}: its vocabulary lacks {', '.join(missing)}; "
            "is this the vocabulary that belongs to the checkpoint?"
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
    """An encoder that reads BERT's WordPiece tokens.

    Args:
        name: what the config calls it.
        vocabulary: tokens in id order.
        lowercase: the checkpoint is uncased.
        strip_accents: accents are removed before the vocabulary is asked.
        special_tokens: names that differ from BERT's, by role: "cls", "sep", "pad", "unk".
        max_positions: see ``Encoder``.
        make_backbone: see ``Encoder``.
        make_fingerprint: see ``Encoder``.
    """
    roles = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "unk": "[UNK]"} | dict(
        special_tokens or {}
    )
    ids = {token: index for index, token in enumerate(vocabulary)}
    start, end, pad, unknown = find_tokens(name, ids, list(roles.values()))

    def make_tokenizer() -> Tokenizer:
        # Here, not above: a machine that only trains needs no tensorflow_text.
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
    """An encoder that reads RoBERTa's byte-level BPE tokens.

    Args:
        name: what the config calls it.
        vocabulary: token -> id.
        merges: "left right" by rank.
        add_prefix_space: a text is read as if it began with a space.
        max_positions: see ``Encoder``.
        make_backbone: see ``Encoder``.
        make_fingerprint: see ``Encoder``.
    """
    start, end, pad = find_tokens(name, vocabulary, ["<s>", "</s>", "<pad>"])

    def make_tokenizer() -> Tokenizer:
        from modules.tokenizers.byte_pair import BytePairTokenizer

        return BytePairTokenizer(vocabulary, merges, add_prefix_space=add_prefix_space)

    return Encoder(
        name, start, end, pad, max_positions, make_tokenizer, make_backbone, make_fingerprint
    )


def digest_file(path: str) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_files(paths: Iterable[str]) -> str:
    """SHA-256, in hex, of files' base names and contents; their folder does not count."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{os.path.basename(path)} {digest_file(path)}\n".encode())
    return total.hexdigest()
