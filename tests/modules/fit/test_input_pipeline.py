"""Batches: complete, with little padding, and reproducible from a seed, also within an epoch."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from modules.contract import features
from modules.fit import batches, input_pipeline
from modules.fit.batches import BatchPlan, TokenizedTexts
from modules.fit.input_pipeline import epoch_dataset, read_examples


def texts(count: int = 500, seed: int = 0) -> TokenizedTexts:
    """Return texts of 3 to 100 tokens, each consisting of its own token id."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, 100, count)
    rows = [[index + 1] * int(length) for index, length in enumerate(lengths)]
    return TokenizedTexts.from_lists(rows, generator.integers(0, 2, count).tolist())


def write_records(path: Path, data: TokenizedTexts, order: list[int] | None = None) -> str:
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for index in order or range(len(data)):
            ids = data.token_ids(index).tolist()
            example = tf.train.Example()
            example.features.feature[features.TOKEN_IDS].int64_list.value.extend(ids)
            label = int(data.labels[index])
            example.features.feature[features.LABEL_ID].int64_list.value.append(label)
            text = f"text {index}".encode()
            example.features.feature[features.TEXT].bytes_list.value.append(text)
            writer.write(example.SerializeToString())
    return str(path)


def real_tokens(batch: batches.Batch) -> list[list[int]]:
    inputs, _, _ = batch
    lengths = np.asarray(inputs["padding_mask"]).sum(axis=1)
    ids = np.asarray(inputs["token_ids"])
    return [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]


def test_each_epoch_has_every_text_once_in_its_own_order() -> None:
    plan = BatchPlan(texts(), batch_size=16, pad_token_id=0, shuffle_seed=1)
    seen = [[row[0] for b in plan.epoch(epoch) for row in real_tokens(b)] for epoch in (0, 1)]
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(1, 501))
    assert seen[0] != seen[1]
    again = [row[0] for b in plan.epoch(0) for row in real_tokens(b)]
    assert again == seen[0]


def test_batches_have_texts_of_similar_length() -> None:
    plan = BatchPlan(texts(), batch_size=16, pad_token_id=0, shuffle_seed=1)
    masks = [inputs["padding_mask"] for inputs, _, _ in plan.epoch()]
    assert sum(mask.sum() for mask in masks) / sum(mask.size for mask in masks) > 0.9
    assert all(mask.shape[1] % batches.LENGTH_STEP == 0 for mask in masks)
    assert len({mask.shape[1] for mask in masks[:5]}) > 1  # batches are not sorted by length


def test_padding_has_the_pad_token_and_mask_zero() -> None:
    plan = BatchPlan(texts(5), batch_size=5, pad_token_id=7, shuffle_seed=0)
    inputs, _, _ = next(iter(plan.epoch()))
    assert np.all(inputs["token_ids"][inputs["padding_mask"] == 0] == 7)


def test_epoch_resumes_in_the_middle() -> None:
    plan = BatchPlan(texts(), batch_size=16, pad_token_id=0, shuffle_seed=1)
    whole = [real_tokens(b) for b in plan.epoch(3)]
    assert [real_tokens(b) for b in plan.epoch(3, first_batch=10)] == whole[10:]


def test_class_weights_balance_the_classes() -> None:
    labels = np.array([0] * 30 + [1] * 10, np.int32)
    weights = batches.class_weights(labels, 3)
    np.testing.assert_allclose(weights, [40 / (3 * 30), 40 / (3 * 10), 0])
    data = TokenizedTexts.from_lists([[1]] * 40, labels.tolist())
    plan = BatchPlan(data, 40, 0, shuffle_seed=0, class_weights=weights)
    _, ids, given = next(iter(plan.epoch()))
    assert given[ids == 0].sum() == pytest.approx(given[ids == 1].sum())


def test_records_are_read_completely_in_an_order_independent_of_the_files(tmp_path: Path) -> None:
    data = texts(50)
    one = write_records(tmp_path / "one.gz", data)
    other = write_records(tmp_path / "other.gz", data, order=list(reversed(range(50))))
    read = read_examples(one, texts=5)
    again = read_examples([other], texts=5)
    assert sorted(read.token_ids(i).tolist() for i in range(50)) == sorted(
        data.token_ids(i).tolist() for i in range(50)
    )
    for name in ("tokens", "offsets", "labels"):
        np.testing.assert_array_equal(getattr(read, name), getattr(again, name))
    assert read.texts == again.texts
    numbers = [int(text.split()[1]) + 1 for text in read.texts]
    assert numbers == [read.token_ids(i)[0] for i in range(5)]


def test_split_without_records_is_empty(tmp_path: Path) -> None:
    assert len(read_examples(str(tmp_path / "*.gz"))) == 0


def test_dataset_has_the_shapes_that_keras_expects() -> None:
    weights = np.array([0.5, 2.0], np.float32)
    plan = BatchPlan(texts(40), 16, 0, shuffle_seed=3, class_weights=weights)
    dataset = epoch_dataset(plan)
    assert len(dataset) == 3
    inputs, labels, given = next(iter(dataset))
    assert inputs["token_ids"].dtype == inputs["padding_mask"].dtype == labels.dtype == tf.int32
    assert inputs["token_ids"].shape == inputs["padding_mask"].shape
    np.testing.assert_array_equal(given, weights[labels.numpy()])


def test_datasets_of_all_backends_have_the_same_batches() -> None:
    plan = BatchPlan(texts(), batch_size=16, pad_token_id=0, shuffle_seed=1)
    expected = [real_tokens(b) for b in plan.epoch(2, 4)]
    arrays = input_pipeline._ArrayBatches(plan, 2, 4)
    assert [real_tokens(arrays[i]) for i in range(len(arrays))] == expected
    dataset = epoch_dataset(plan, 2, 4)
    assert len(dataset) == len(plan) - 4
    assert [real_tokens(b) for b in dataset] == expected
