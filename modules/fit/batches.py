"""Tokenised texts in memory and their division into batches of similar length. NumPy only.

Batches depend only on the seed and the epoch, so that a killed run can resume in the middle of an
epoch with the same batches.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

#: Batches whose texts are sorted by length together. Larger pools mean less padding and less
#: shuffling.
POOL_BATCHES = 64
#: Lengths are padded up to a multiple of this.
LENGTH_STEP = 8

Batch = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class TokenizedTexts:
    """Texts as token ids, concatenated in a flat array of 4 bytes per token.

    Attributes:
        tokens: int32[total tokens].
        offsets: int64[texts + 1]; text ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``.
        labels: int32[texts].
        texts: the raw texts, or empty if they are not needed.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    texts: tuple[bytes, ...] = ()

    @classmethod
    def from_lists(
        cls, token_ids: Sequence[Sequence[int]], labels: Sequence[int]
    ) -> "TokenizedTexts":
        """Create the record from a list of token ids and a label per text."""
        lengths = np.fromiter((len(ids) for ids in token_ids), np.int64, len(token_ids))
        tokens = [np.asarray(ids, np.int32) for ids in token_ids]
        return cls(
            tokens=np.concatenate(tokens) if tokens else np.zeros(0, np.int32),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            labels=np.asarray(labels, np.int32),
        )

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, int64[texts]."""
        return np.diff(self.offsets)

    def token_ids(self, index: int) -> np.ndarray:
        """Return the token ids of one text, int32[length]."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def order_by_content(self) -> np.ndarray:
        """Return the texts' order by a hash of their content, int64[texts]."""

        def key(index: int) -> bytes:
            content = self.token_ids(index).tobytes() + self.labels[index].tobytes()
            return hashlib.blake2b(content, digest_size=16).digest()

        return np.array(sorted(range(len(self)), key=key), np.int64)

    def take(self, rows: np.ndarray, texts: int) -> "TokenizedTexts":
        """Return the texts ``rows``, with the raw text of the first ``texts`` of them."""
        lengths = self.lengths[rows]
        parts = [self.token_ids(row) for row in rows]
        return TokenizedTexts(
            tokens=np.concatenate([np.zeros(0, np.int32), *parts]),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            labels=self.labels[rows],
            texts=tuple(self.texts[row] for row in rows[:texts]),
        )


def class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return weights that balance the classes: ``texts / (classes * texts of the class)``.

    Args:
        labels: int32[texts].
        num_classes: number of classes.

    Returns:
        float32[num_classes]; 0 for a class with no text.
    """
    counts = np.bincount(labels, minlength=num_classes)
    weights = len(labels) / (num_classes * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0.0).astype(np.float32)


def share(batch: Batch, index: int, count: int) -> Batch:
    """Return one worker's share of a batch: every ``count``-th row from ``index`` on.

    All shares have the same number of rows. If the batch does not divide evenly, the last row of
    some shares has weight 0.

    Args:
        batch: a batch from ``BatchPlan.batch``.
        index: the worker's number, from 0.
        count: number of workers.
    """
    inputs, labels, weights = batch
    rows = np.arange(index, -(-len(labels) // count) * count, count)
    fill = rows >= len(labels)
    rows = np.where(fill, 0, rows)
    return (
        {name: values[rows] for name, values in inputs.items()},
        labels[rows],
        np.where(fill, np.float32(0), weights[rows]),
    )


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """Division of texts into batches.

    Attributes:
        data: the texts.
        batch_size: texts per batch; the last batch may be smaller.
        pad_token_id: id that pads short texts.
        shuffle_seed: None sorts by length, for evaluation.
        class_weights: float32[classes], or None for weights of 1.
        length_step: lengths are padded up to a multiple of this.
    """

    data: TokenizedTexts
    batch_size: int
    pad_token_id: int
    shuffle_seed: int | None = None
    class_weights: np.ndarray | None = None
    length_step: int = LENGTH_STEP

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-len(self.data) // self.batch_size)

    def epoch(self, epoch: int = 0, first_batch: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Args:
            epoch: counted from 0; each has its own order.
            first_batch: batches to skip, for a run that resumes within an epoch.

        Yields:
            ``({"token_ids", "padding_mask"}: int32[batch, length], label int32[batch],
            weight float32[batch])``.
        """
        for rows in self.rows(epoch)[first_batch:]:
            yield self.batch(rows)

    def rows(self, epoch: int) -> list[np.ndarray]:
        """Return the indices of the texts in each batch of an epoch."""
        lengths = self.data.lengths
        if self.shuffle_seed is None:
            order = np.argsort(lengths, kind="stable")
            return self._split(order)
        generator = np.random.default_rng((self.shuffle_seed, epoch))
        order = generator.permutation(len(self.data))
        pool = POOL_BATCHES * self.batch_size
        batches: list[np.ndarray] = []
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            batches += self._split(part[np.argsort(lengths[part], kind="stable")])
        return [batches[i] for i in generator.permutation(len(batches))]

    def _split(self, order: np.ndarray) -> list[np.ndarray]:
        return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]

    def batch(self, rows: np.ndarray) -> Batch:
        """Return the texts ``rows`` as a batch, padded to the same length."""
        lengths = self.data.lengths[rows]
        width = max(1, -(-int(lengths.max(initial=1)) // self.length_step) * self.length_step)
        mask = np.arange(width)[None, :] < lengths[:, None]
        token_ids = np.full(mask.shape, self.pad_token_id, np.int32)
        token_ids[mask] = np.concatenate([self.data.token_ids(row) for row in rows])
        labels = self.data.labels[rows]
        weights = (
            np.ones(len(rows), np.float32)
            if self.class_weights is None
            else self.class_weights[labels]
        )
        return {"token_ids": token_ids, "padding_mask": mask.astype(np.int32)}, labels, weights
