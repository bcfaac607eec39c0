"""Descriptions of texts: a few numbers per text, column by column, for the drift tests."""

import dataclasses
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class Descriptions:
    """Texts as numbers; row i of every column is text i.

    Attributes:
        identities: bytes[texts], ``modules.contract.text_identity`` as 64 hex digits.
        characters: int32[texts], length of the text.
        tokens: int32[texts], tokens that the model reads, without start and end.
        unknown_tokens: int32[texts], tokens that the vocabulary lacks.
        words: float32[texts, ``BUCKETS``], shares of the text's hashed words.
        embeddings: float32[texts, width], the text's vector at the input of the model's head.
        scores: float32[texts, labels], the model's scores.
        answers: int32[texts], the predicted label as an index into the model's labels.
    """

    identities: Array
    characters: Array
    tokens: Array
    unknown_tokens: Array
    words: Array
    embeddings: Array
    scores: Array
    answers: Array

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.identities)

    @property
    def confidence(self) -> Array:
        """float32[texts], the score of the predicted label."""
        return np.take_along_axis(self.scores, self.answers[:, np.newaxis], axis=1)[:, 0]

    def take(self, rows: Sequence[int] | Array) -> Self:
        """Return the texts with these row numbers, in this order."""
        return type(self)(**{name: column[rows] for name, column in self.columns().items()})

    def columns(self) -> dict[str, Array]:
        """Return the columns by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Array]) -> Self:
        """Return descriptions made of ``columns``; further columns are ignored.

        Raises:
            ValueError: a column is missing or has another length, or the words have another
                number of buckets.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if missing := [name for name in names if name not in columns]:
            raise ValueError(f"column {missing[0]} is missing")
        found = {name: columns[name] for name in names}
        if len({len(column) for column in found.values()}) > 1:
            raise ValueError("the columns have different lengths")
        if found["words"].shape[1:] != (BUCKETS,):
            raise ValueError("the words were hashed to another number of buckets")
        return cls(**found)


def concatenate(parts: Sequence[Descriptions]) -> Descriptions:
    """Return all texts of ``parts``, in order; ``parts`` must not be empty."""
    columns = [part.columns() for part in parts]
    return Descriptions.from_columns(
        {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
    )


#: Number of buckets for hashed words. Rare words share buckets, which only dampens differences.
BUCKETS: Final = 1024
#: A run of letters and digits, or one other visible character.
_WORD: Final = re.compile(r"[^\W_]+|[^\w\s]|_")


def hashed_shares(texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the distribution of each text's words over the buckets.

    Texts of any length count equally: a row sums to 1, or to 0 without words. CRC-32 of the
    case-folded word picks the bucket, so it is the same in every process.

    Returns:
        float32[texts, BUCKETS].
    """
    shares = np.zeros((len(texts), BUCKETS), np.float32)
    for row, text in zip(shares, texts, strict=True):
        found = _WORD.findall(text.casefold())
        if found:
            buckets = [zlib.crc32(word.encode("utf-8", "replace")) % BUCKETS for word in found]
            np.add.at(row, buckets, 1 / len(found))
    return shares
