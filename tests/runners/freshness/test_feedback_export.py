from pathlib import Path

import pytest

from modules.contract.errors import DataError
from modules.contract.text_identity import text_identity
from pipeline.config import Config
from runners.freshness import feedback_export
from runners.freshness.feedback_export import held_out_identities, label_vocabulary


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    feedback_export._read_identities.cache_clear()


def identities(*texts: str) -> frozenset[str]:
    return frozenset(text_identity(text).hex() for text in texts)


def write_examples(folder: Path, **splits: list[str]) -> str:
    import tensorflow as tf

    for split, texts in splits.items():
        path = folder / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"
        path.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for text in texts:
                example = tf.train.Example()
                example.features.feature["text"].bytes_list.value.append(text.encode())
                writer.write(example.SerializeToString())
    return str(folder)


def add_examples(metadata, run_id: str, uri: str, state: str = "COMPLETE") -> None:
    metadata.add_node(
        run_id, "ExampleGen", state=state, outputs={"examples": ("Examples", uri, {})}
    )


def test_nothing_is_held_out_before_the_first_run(config: Config) -> None:
    assert held_out_identities(config) == frozenset()


@pytest.mark.slow
def test_test_split_of_the_last_run_is_held_out(config: Config, metadata, tmp_path: Path) -> None:
    old = write_examples(tmp_path / "old", test=["old"])
    new = write_examples(tmp_path / "new", train=["learnt"], test=["Héld  out", "two"])
    add_examples(metadata, "1", old)
    add_examples(metadata, "2", new, state="CACHED")
    metadata.add_node("3", "ExampleGen", state="FAILED", error="bad rows")
    assert held_out_identities(config) == identities("héld out", "TWO")


def test_missing_test_split_stops_the_export(config: Config, metadata, tmp_path: Path) -> None:
    add_examples(metadata, "1", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="create it again: bert run"):
        held_out_identities(config)


def test_labels_are_those_of_the_newest_pushed_model(config: Config) -> None:
    assert label_vocabulary(config) == []
    assert label_vocabulary(config.model_copy(update={"data": config.data.model_copy(
        update={"labels": ("a", "b")})})) == ["a", "b"]  # fmt: skip
    for version, labels in {"9": "a\nb\n", "10": "c\nd\n"}.items():
        folder = Path(config.push_directory()) / version
        (folder / "assets.extra").mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"")
        (folder / "assets.extra/labels.txt").write_text(labels)
    assert label_vocabulary(config) == ["c", "d"]
