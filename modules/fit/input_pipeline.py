"""Transformed tf.Examples on disk -> texts in memory -> length-bucketed batches for Keras.

A run's texts are held in memory as token ids, 4 bytes a token (a million texts of 128 tokens:
0.5 GB). That gives exact counts, batches with next to no padding, and resumable epochs.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from modules.contract import features
from modules.fit.batches import Batch, BatchPlan, TokenizedTexts, share


def read_examples(
    file_patterns: str | Sequence[str], *, texts: int = 0, batch_size: int = 1024
) -> TokenizedTexts:
    """Read gzip-compressed TFRecords of Transform's examples.

    Their order is that of a hash of their content: Beam writes records in an order of its own each
    time, and the same data shall give the same batches.

    Args:
        file_patterns: glob patterns.
        texts: raw texts to keep, from the first on.
        batch_size: records parsed at a time.
    """
    import tensorflow as tf

    patterns = [file_patterns] if isinstance(file_patterns, str) else list(file_patterns)
    files = sorted(name for pattern in patterns for name in tf.io.gfile.glob(pattern))
    spec = {
        features.TOKEN_IDS: tf.io.RaggedFeature(tf.int64),
        features.LABEL_ID: tf.io.FixedLenFeature([], tf.int64),
        features.TEXT: tf.io.FixedLenFeature([], tf.string, default_value=""),
    }
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(batch_size)
    tokens: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    kept: list[bytes] = []
    for parsed in records.map(lambda batch: tf.io.parse_example(batch, spec)):
        tokens.append(parsed[features.TOKEN_IDS].flat_values.numpy().astype(np.int32))
        lengths.append(parsed[features.TOKEN_IDS].row_lengths().numpy())
        labels.append(parsed[features.LABEL_ID].numpy().astype(np.int32))
        if texts:
            kept += parsed[features.TEXT].numpy().tolist()
    data = TokenizedTexts(
        tokens=np.concatenate([np.zeros(0, np.int32), *tokens]),
        offsets=np.cumsum(np.concatenate([[0], *lengths])).astype(np.int64),
        labels=np.concatenate([np.zeros(0, np.int32), *labels]),
        texts=tuple(kept),
    )
    return data.take(data.order_by_content(), texts)


def epoch_dataset(
    plan: BatchPlan, epoch: int = 0, first_batch: int = 0, worker: tuple[int, int] = (0, 1)
) -> Any:
    """One epoch's batches in the form that ``keras.Model.fit`` takes on the backend in use.

    Args:
        plan: how texts become batches.
        epoch: counted from 0; each has its own order.
        first_batch: batches to leave out, for a run that goes on in mid-epoch.
        worker: this worker's number and how many there are; each takes its share of every batch.
            TensorFlow alone has several.

    Returns:
        A tf.data.Dataset on TensorFlow, a PyDataset elsewhere, of ``({"token_ids",
        "padding_mask"}: int32[batch, length], label int32[batch], weight float32[batch])``.
    """
    if keras.backend.backend() != "tensorflow":
        return _ArrayBatches(plan, epoch, first_batch)
    import tensorflow as tf

    ids = tf.TensorSpec([None, None], tf.int32)
    signature = (
        {"token_ids": ids, "padding_mask": ids},
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.float32),
    )
    dataset = tf.data.Dataset.from_generator(
        lambda: (share(batch, *worker) for batch in plan.epoch(epoch, first_batch)),
        output_signature=signature,
    )
    known_length = tf.data.experimental.assert_cardinality(len(plan) - first_batch)
    return dataset.apply(known_length).prefetch(2)


class _ArrayBatches(keras.utils.PyDataset):
    """The batches as NumPy arrays, for backends without tf.data."""

    def __init__(self, plan: BatchPlan, epoch: int, first_batch: int) -> None:
        super().__init__()
        self._plan = plan
        self._rows = plan.rows(epoch)[first_batch:]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Batch:
        return self._plan.batch(self._rows[index])
