"""Input pipeline: transformed tf.Examples on disk to length-bucketed batches for Keras.

All texts of a run are held in memory as token ids, 4 bytes per token (0.5 GB for a million texts
of 128 tokens). This gives exact counts, batches with little padding, and resumable epochs.
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

    The examples are sorted by a hash of their content, so that the same data gives the same
    batches although Beam writes records in varying order.

    Args:
        file_patterns: glob patterns.
        texts: number of raw texts to keep, of the first examples.
        batch_size: records to parse at a time.
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
    """Return one epoch's batches in the form that ``keras.Model.fit`` takes on this backend.

    Args:
        plan: the division of texts into batches.
        epoch: counted from 0; each has its own order.
        first_batch: batches to skip, for a run that resumes within an epoch.
        worker: this worker's number and the number of workers, each of which gets its share of
            every batch. Only the TensorFlow backend supports several.

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
