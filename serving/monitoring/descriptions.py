"""What the tests look at: a few numbers for each text, column by column."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from serving.monitoring import words

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class Descriptions:
    """Texts as numbers; row i of every column is text i.

    Attributes:
        identities: bytes[texts], ``modules.contract.text_identity`` as 64 hex digits.
        characters: int32[texts], length of the text.
        tokens: int32[texts], tokens that the model reads, without start and end.
        unknown_tokens: int32[texts], those of them that the vocabulary lacks.
        words: float32[texts, ``words.BUCKETS``], shares of the text's hashed words.
        embeddings: float32[texts, width], the text's vector as the model's head sees it.
        scores: float32[texts, labels], the model's answer.
        answers: int32[texts], the label answered, an index into the model's labels.
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
        """How many texts there are."""
        return len(self.identities)

    @property
    def confidence(self) -> Array:
        """float32[texts], the score of the label answered."""
        return np.take_along_axis(self.scores, self.answers[:, np.newaxis], axis=1)[:, 0]

    def take(self, rows: Sequence[int] | Array) -> Self:
        """The texts of these row numbers, in this order."""
        return type(self)(**{name: column[rows] for name, column in self.columns().items()})

    def columns(self) -> dict[str, Array]:
        """Column by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Array]) -> Self:
        """The reverse of ``columns``; more columns than needed may be given.

        Raises:
            ValueError: a column is missing, or not as long as the others.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if missing := [name for name in names if name not in columns]:
            raise ValueError(f"column {missing[0]} is missing")
        found = {name: columns[name] for name in names}
        if len({len(column) for column in found.values()}) > 1:
            raise ValueError("the columns have different lengths")
        if found["words"].shape[1:] != (words.BUCKETS,):
            raise ValueError("the words were hashed otherwise")
        return cls(**found)


def concatenate(parts: Sequence[Descriptions]) -> Descriptions:
    """All texts of ``parts``, which must not be empty, in their order."""
    columns = [part.columns() for part in parts]
    return Descriptions.from_columns(
        {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
    )
