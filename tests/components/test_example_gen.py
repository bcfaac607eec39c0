"""ExampleGen run by TFX: TFRecords, metadata and the quarantine file."""

import csv
import gzip
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.example_gen import make_example_gen
from components.ingestion import executor as ingestion_executor
from components.ingestion.executor import Executor
from modules.contract.errors import DataError, UserError
from tests.components.beam_arguments import BEAM_ARGUMENTS
from tests.components.ingested import (
    SPLIT,
    Ran,
    last_execution_state,
    rows,
    run,
    write_csv,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def features_of(record: bytes) -> dict[str, str]:
    features = tf.train.Example.FromString(record).features.feature
    return {name: feature.bytes_list.value[0].decode() for name, feature in features.items()}


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "reviews.csv", rows(60), ("text", "label"))


def refusal(root: Path, *paths: Path | str, **arguments: Any) -> str:
    with pytest.raises(DataError) as caught:
        run(root, *paths, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_row_becomes_one_example_with_its_features(root: Path, tmp_path: Path) -> None:
    table = [(*row, f"d{number % 3}") for number, row in enumerate(rows(60))]
    table[5] = ('two\nlines, "quoted" and naïve 🎉', "good", "")
    path = write_csv(tmp_path / "r.csv", table, ("review", "verdict", "domain"))
    ran = run(root, path, text_column="review", label_column="verdict", slice_columns=["domain"])
    found = Counter((e["text"], e["label"], e["domain"]) for e in ran.all_examples())
    assert found == Counter(table)
    assert all(set(example) == {"text", "label", "domain"} for example in ran.all_examples())
    assert ran.quarantine() == []
    assert not (ran.uri / ".ingestion").exists()


def test_artifact_has_the_properties_of_tfx_and_the_counts(root: Path, tmp_path: Path) -> None:
    table = [*rows(60), ("THE fine  thing, number 0", "bad"), ("the dull thing, number 1", "bad")]
    ran = run(root, write_csv(tmp_path / "r.csv", table, ("text", "label")))
    assert ran.artifact.type_name == standard_artifacts.Examples.TYPE_NAME
    assert artifact_utils.decode_split_names(ran.artifact.split_names) == ["train", "eval", "test"]
    assert ran.string("payload_format") == "FORMAT_TF_EXAMPLE"
    assert ran.string("file_format") == "tfrecords_gzip"
    assert ran.number("span") == 0
    assert len(ran.string("input_fingerprint")) == 64
    assert ran.number("examples") == 62
    assert ran.number("quarantined") == 0
    assert ran.number("duplicate_texts") == 2
    assert ran.number("conflicting_texts") == 1
    labels = json.loads(ran.string("label_counts"))
    assert sum((Counter(split) for split in labels.values()), Counter()) == {"bad": 32, "good": 30}
    names = [path.name for path in ran.uri.glob("Split-*/*")]
    assert names == ["data_tfrecord-00000-of-00001.gz"] * 3


def test_every_row_is_an_example_or_in_quarantine(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    lines = [f'"{text}",{label}'.encode() for text, label in rows(60)]
    lines[3:3] = [
        b"one,two,three",
        b" ,good",
        b"fine,",
        b"caf\xe9,good",
        b"fine,great",
        b"x\0y,bad",
    ]
    lines += [b"w" * 300 + b",good", b'"he said "no"",bad', b'"never closed,good', b"in there,bad"]
    path.write_bytes(b"text,label\r\n" + b"\r\n".join(lines))
    ran = run(root, path, labels=["good", "bad"], max_text_bytes=200, max_bad_share=0.2)
    quarantined = ran.quarantine()
    assert [(q["line"], q["reason"], q["rows"]) for q in quarantined] == [
        (5, "wrong_field_count", 1),
        (6, "empty_text", 1),
        (7, "missing_label", 1),
        (8, "not_utf8", 1),
        (9, "unknown_label", 1),
        (10, "nul_character", 1),
        (68, "text_too_long", 1),
        (69, "malformed_quotes", 1),
        (70, "unclosed_quote", 2),
    ]
    assert quarantined[3]["row"] == "caf\\xe9, good"
    assert {q["file"] for q in quarantined} == {str(path)}
    assert ran.number("quarantined") == sum(q["rows"] for q in quarantined) == 10
    assert len(ran.all_examples()) == ran.number("examples") == 60
    assert len(lines) == ran.number("examples") + ran.number("quarantined")
    assert json.loads(ran.string("quarantine_reasons"))["unclosed_quote"] == 2


def test_too_many_bad_rows_stop_the_run_and_leave_the_quarantine_file(
    root: Path, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "r.csv", [*rows(60), ("", "good"), ("", "bad")], ("text", "label"))
    message = refusal(root, path)
    assert message.startswith("2 of 62 rows (3.3%) cannot be used, the limit is 1%")
    assert f"{path}:62 empty_text; {path}:63 empty_text" in message
    (kept,) = (root / "quarantine").iterdir()
    assert str(kept) in message
    assert [json.loads(line)["line"] for line in kept.read_text().splitlines()] == [62, 63]
    assert last_execution_state(root) == metadata_store_pb2.Execution.FAILED
    assert list((root / "ExampleGen" / "examples").iterdir()) == []
    refusal(root, path, quarantine_directory=str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere" / kept.name).read_bytes() == kept.read_bytes()


def test_file_of_bad_rows_is_not_read_to_its_end(root: Path, tmp_path: Path) -> None:
    good = write_csv(tmp_path / "good.csv", rows(60), ("text", "label"))
    path = tmp_path / "bad.jsonl.gz"
    path.write_bytes(gzip.compress(b"[]\n" * 40_000 + b"{}"))
    message = refusal(root, good, path)
    assert message.startswith(f"{path}: 10001 of the first 10001 rows (100%) cannot be used")
    (kept,) = (root / "quarantine").iterdir()
    assert len(kept.read_text().splitlines()) == 10_001
    assert f"Bad rows up to there, with reasons: {kept}" in message


def test_copies_of_a_text_share_a_split(root: Path, tmp_path: Path) -> None:
    table = [
        (text, label) for spoken, label in rows(60) for text in (spoken, f" {spoken.upper()}\t")
    ]
    ran = run(root, write_csv(tmp_path / "r.csv", table, ("text", "label")))
    splits: dict[str, set[str]] = {}
    for split, examples in ran.examples().items():
        for example in examples:
            splits.setdefault(example["text"].strip().casefold(), set()).add(split)
    assert len(splits) == 60
    assert all(len(found) == 1 for found in splits.values())
    assert ran.number("duplicate_texts") == 60


def test_equal_data_in_any_order_or_format_gives_equal_bytes(
    root: Path, tmp_path: Path, reviews: Path
) -> None:
    first = run(root, reviews)
    whole = rows(60)
    parts = tmp_path / "parts"
    parts.mkdir()
    write_csv(parts / "b.csv", whole[40:][::-1], ("text", "label"))
    with gzip.open(parts / "a.csv.gz", "wt", newline="") as target:
        csv.writer(target).writerows([("text", "label"), *whole[:40]])
    in_parts = run(root, parts / "*")
    as_json = tmp_path / "r.jsonl"
    as_json.write_text("\n".join(json.dumps({"label": v, "text": t}) for t, v in whole[::-1]))
    in_json = run(root, as_json)
    folders = tmp_path / "folders"
    for number, (text, label) in enumerate(whole):
        (folders / label).mkdir(parents=True, exist_ok=True)
        (folders / label / f"{number}.txt").write_text(text)
    in_folders = run(root, folders)
    digests = [ran.digests() for ran in (first, in_parts, in_json, in_folders)]
    assert digests[1:] == digests[:1] * 3
    assert in_folders.executions == 4


def test_cache_depends_on_content_only(root: Path, tmp_path: Path, reviews: Path) -> None:
    first = run(root, reviews)
    os.utime(reviews, (1, 1))
    shutil.copy(reviews, tmp_path / "copy")
    os.replace(tmp_path / "copy", reviews)
    assert run(root, reviews).uri == first.uri
    before = os.stat(reviews)
    reviews.write_bytes(reviews.read_bytes().replace(b"number 59", b"number 69"))
    os.utime(reviews, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = run(root, reviews)
    assert second.executions == 2
    assert any("number 69" in example["text"] for example in second.all_examples())
    assert run(root, reviews, code_digest="1").executions == 3
    assert run(root, reviews, code_digest="1").executions == 3


def test_latest_span_is_read(root: Path, tmp_path: Path) -> None:
    for span, count in ((1, 40), (2, 50), (10, 60)):
        folder = tmp_path / f"span-{span}"
        folder.mkdir()
        write_csv(folder / "r.csv", rows(count), ("text", "label"))
    ran = run(root, tmp_path / "span-{SPAN}" / "*.csv")
    assert (ran.number("span"), ran.number("examples")) == (10, 60)
    (tmp_path / "span-11").mkdir()
    write_csv(tmp_path / "span-11" / "r.csv", rows(44), ("text", "label"))
    ran = run(root, tmp_path / "span-{SPAN}")
    assert (ran.number("span"), ran.number("examples")) == (11, 44)
    assert "cannot find the latest span" in refusal(root, tmp_path / "day-{SPAN}" / "*.csv")


def test_data_that_cannot_train_a_classifier_is_refused(root: Path, tmp_path: Path) -> None:
    header = ("text", "label")
    one_label = write_csv(tmp_path / "one.csv", [(text, "a") for text, _ in rows(60)], header)
    assert "all 60 examples have the label 'a'" in refusal(root, one_label)
    few = write_csv(tmp_path / "few.csv", rows(3), header)
    assert "too few: the split 'train' is empty" in refusal(root, few)
    rare = [*rows(60), *((f"rare {n}", f"rare{n}") for n in range(12))]
    assert "have no example in the train split" in refusal(
        root, write_csv(tmp_path / "rare.csv", rare, header)
    )
    assert "no rows of data" in refusal(root, write_csv(tmp_path / "none.csv", [], header))
    assert "no column 'label'" in refusal(
        root, write_csv(tmp_path / "named.csv", rows(9), ("text", "labels"))
    )


def test_missing_file_fails_the_execution_with_one_line(root: Path, reviews: Path) -> None:
    missing = reviews.with_name("review.csv")
    assert f"Did you mean {reviews}?" in refusal(root, missing)
    assert last_execution_state(root) == metadata_store_pb2.Execution.FAILED
    shutil.copy(reviews, missing)
    assert run(root, missing).number("examples") == 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"paths": []}, "data.path is empty"),
        ({"data_format": "xlsx"}, "data.format must be one of auto, csv"),
        ({"max_bad_share": 2.0}, "data.max_bad_share must be from 0 to 1"),
        ({"max_text_bytes": 0}, "data.max_text_bytes"),
        ({"label_column": "text"}, "must differ; both are 'text'"),
        ({"slice_columns": ["label"]}, "must not contain 'label'"),
        ({"text_column": "review", "slice_columns": ["text"]}, "must not contain 'text'"),
        ({"split": {"train": 1}}, "data.split needs"),
    ],
)
def test_invalid_settings_are_refused_before_anything_runs(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_example_gen(**{"paths": ["r.csv"], "split": SPLIT, "code_digest": "0"} | arguments)


def execute(uri: Path, path: Path, **changes: Any) -> Ran:
    """Run the executor as platforms without custom drivers do."""
    node = make_example_gen(paths=[str(path)], split=SPLIT, code_digest="0")
    examples = standard_artifacts.Examples()
    examples.uri = str(uri)
    executor = Executor(Executor.Context(beam_pipeline_args=list(BEAM_ARGUMENTS)))
    executor.Do({}, {"examples": [examples]}, {**node.exec_properties, **changes})
    return Ran(examples)


def test_executor_works_without_the_driver(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "span-7"
    folder.mkdir()
    write_csv(folder / "r.csv", rows(60), ("text", "label"))
    ran = execute(root / "out", tmp_path / "span-{SPAN}" / "r.csv")
    assert (ran.number("span"), ran.number("examples")) == (7, 60)
    assert len(ran.string("input_fingerprint")) == 64


def test_data_changed_since_the_driver_ran_is_refused(root: Path, reviews: Path) -> None:
    with pytest.raises(DataError, match="changed while it was read"):
        execute(root / "out", reviews, input_fingerprint="0" * 64)


def test_large_data_is_written_in_several_files(
    root: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = execute(root / "whole", reviews)
    monkeypatch.setattr(ingestion_executor, "_SHARD_BYTES", reviews.stat().st_size // 3 + 1)
    parts = execute(root / "parts", reviews)
    names = {path.name for path in (root / "parts" / "Split-train").iterdir()}
    assert names == {f"data_tfrecord-0000{number}-of-00003.gz" for number in range(3)}
    for split, examples in whole.examples().items():
        found = parts.examples()[split]
        assert sorted(e["text"] for e in found) == sorted(e["text"] for e in examples)
    assert parts.string("label_counts") == whole.string("label_counts")


def test_counts_are_emitted_as_progress(
    root: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERT_PROGRESS_FILE", str(tmp_path / "progress.jsonl"))
    execute(root / "out", reviews)
    (event,) = map(json.loads, (tmp_path / "progress.jsonl").read_text().splitlines())
    assert event["event"] == "ingested"
    assert (event["component"], event["examples"], event["quarantined"]) == ("ExampleGen", 60, 0)


@pytest.mark.slow
@pytest.mark.skipif("BERT_REAL_DATA" not in os.environ, reason="BERT_REAL_DATA names no folder")
@pytest.mark.parametrize(("name", "count"), [("imdb_5k.csv", 5_000), ("news20_train.csv", 11_314)])
def test_no_row_of_real_data_is_lost(root: Path, name: str, count: int) -> None:
    path = Path(os.environ["BERT_REAL_DATA"]) / name
    ran = run(root, path, split={"train": 8, "eval": 1, "test": 1})
    with path.open(encoding="utf-8", newline="") as source:
        expected = Counter((row["text"], row["label"]) for row in csv.DictReader(source))
    found = Counter((e["text"], e["label"]) for e in ran.all_examples())
    bad = ran.quarantine()
    assert found.total() + sum(row["rows"] for row in bad) == count
    assert found <= expected
