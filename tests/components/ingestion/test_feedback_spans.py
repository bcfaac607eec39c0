"""ExampleGen with feedback spans and the cache of parsed files."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2

from components.example_gen import make_example_gen
from components.ingestion import driver, parse_cache
from components.ingestion.settings import INPUT_ERROR
from components.ingestion.sources import Source
from modules.contract.errors import DataError
from tests.components.ingested import SPLIT, Ran, last_execution_state, rows, run, write_csv

HEADER = ("text", "label")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "reviews.csv", rows(60), HEADER)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folder and name of each file that was parsed."""
    found: list[str] = []
    read = Source.read

    def counted(self: Source, *arguments: Any) -> Iterator[Any]:
        found.append(os.path.join(os.path.basename(os.path.dirname(self.path)), self.path[-12:]))
        return read(self, *arguments)

    monkeypatch.setattr(Source, "read", counted)
    return found


class Spans:
    """A run's feedback spans and its cache of parsed files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "feedback"
        self.cache = root / "ExampleGen-cache"

    def add(self, number: int, table: list[tuple[str, ...]], header: tuple[str, ...] = HEADER):
        folder = self.folder / f"span-{number}"
        folder.mkdir(parents=True)
        return write_csv(folder / "feedback.csv", table, header)

    def run(self, *paths: Path, **arguments: Any) -> Ran:
        directories = {"spans_directory": str(self.folder), "cache_directory": str(self.cache)}
        return run(self.root, *paths, **directories | arguments)

    def entries(self) -> set[str]:
        return {path.name for path in self.cache.glob("*.entry")}


@pytest.fixture
def spans(root: Path) -> Spans:
    return Spans(root)


def new(count: int, start: int = 0) -> list[tuple[str, str]]:
    return [(f"feedback {number}", ("bad", "good")[number % 2]) for number in range(start, count)]


def test_missing_span_folder_means_no_feedback(spans: Spans, reviews: Path) -> None:
    ran = spans.run(reviews)
    assert (ran.number("span"), ran.string("feedback_spans")) == (0, "[]")
    assert ran.string("feedback_counts") == "{}"
    assert ran.digests() == run(spans.root, reviews, code_digest="1").digests()


def test_all_spans_are_read_with_the_data(spans: Spans, reviews: Path) -> None:
    first = spans.run(reviews)
    spans.add(2, new(10))
    spans.add(10, new(20, start=10))
    (spans.folder / ".unfinished-span-11").mkdir()
    (spans.folder / "notes").mkdir()
    ran = spans.run(reviews)
    assert (ran.number("span"), json.loads(ran.string("feedback_spans"))) == (10, [2, 10])
    assert ran.number("examples") == len(ran.all_examples()) == 80
    assert json.loads(ran.string("feedback_counts")) == {"added": 20}
    assert ran.string("input_fingerprint") != first.string("input_fingerprint")


def test_only_a_new_span_runs_the_node_again(spans: Spans, reviews: Path) -> None:
    spans.add(1, new(10))
    assert spans.run(reviews).executions == spans.run(reviews).executions == 1
    (spans.folder / "span-1" / "summary.json").write_text("{}")
    assert spans.run(reviews).executions == 1
    spans.add(2, new(10))
    ran = spans.run(reviews)
    assert (ran.executions, ran.number("examples")) == (2, 70)
    shutil.move(spans.folder / "span-2", spans.folder / "span-3")
    assert spans.run(reviews).executions == 3, "the number decides which label is newer"


def test_spans_use_the_configured_columns_and_may_lack_slices(spans: Spans, tmp_path: Path) -> None:
    table = [(*row, f"d{number % 2}") for number, row in enumerate(rows(60))]
    data = write_csv(tmp_path / "r.csv", table, ("review", "verdict", "domain"))
    spans.add(1, [("new one", "good")], ("review", "verdict"))
    spans.add(2, [("d9", "bad", "new two")], ("domain", "verdict", "review"))
    names = {"text_column": "review", "label_column": "verdict", "slice_columns": ["domain"]}
    found = {e["text"]: e["domain"] for e in spans.run(data, **names).all_examples()}
    assert len(found) == 62
    assert (found["new one"], found["new two"]) == ("", "d9")
    plain = write_csv(tmp_path / "plain.csv", rows(60), ("review", "verdict"))
    with pytest.raises(DataError, match="has no column 'domain'"):
        spans.run(plain, **names)


def test_newer_labels_win_except_in_the_test_split(spans: Spans, tmp_path: Path) -> None:
    table = [(*row, "films") for row in rows(60)]
    data = write_csv(tmp_path / "r.csv", table, (*HEADER, "domain"))
    before = spans.run(data, slice_columns=["domain"])
    turned = {"bad": "good", "good": "bad"}
    spans.add(1, [(text.upper(), turned[label]) for text, label in rows(60)])
    after = spans.run(data, slice_columns=["domain"])
    for split, examples in before.examples().items():
        expected = {
            e["text"]: e["label"] if split == "test" else turned[e["label"]] for e in examples
        }
        found = after.examples()[split]
        assert {e["text"]: e["label"] for e in found} == expected
        assert {e["domain"] for e in found} == {"films"}
    held_out = len(before.examples()["test"])
    counts = json.loads(after.string("feedback_counts"))
    assert counts == {"relabelled": 60 - held_out, "held_out": held_out}
    assert after.number("examples") == 60
    assert after.number("conflicting_texts") == 0


def test_bad_rows_of_a_span_are_quarantined(spans: Spans, reviews: Path) -> None:
    path = spans.add(1, [("fine", "good"), ("", "bad"), ("who", "great")])
    ran = spans.run(reviews, labels=["good", "bad"], max_bad_share=0.1)
    assert [(q["file"], q["line"], q["reason"]) for q in ran.quarantine()] == [
        (str(path), 3, "empty_text"),
        (str(path), 4, "unknown_label"),
    ]


def test_span_that_the_data_path_also_matches_is_read_once(spans: Spans, reviews: Path) -> None:
    spans.add(1, new(10))
    ran = spans.run(reviews, spans.folder / "span-*" / "feedback.csv")
    assert ran.number("examples") == 70
    assert json.loads(ran.string("feedback_counts")) == {"added": 10}


def test_broken_span_folder_error_is_one_line(spans: Spans, reviews: Path) -> None:
    (spans.folder / "span-4").mkdir(parents=True)
    with pytest.raises(DataError, match=r"span-4 has no feedback\.csv; restore the file"):
        spans.run(reviews)
    assert last_execution_state(spans.root) == metadata_store_pb2.Execution.FAILED
    shutil.rmtree(spans.folder)
    spans.folder.write_text("")
    with pytest.raises(DataError, match=r"feedback\.spans must be a folder"):
        spans.run(reviews)
    with pytest.raises(DataError, match="cannot be listed"):
        spans.run(reviews, spans_directory="nowhere://bucket/feedback")


def test_executor_reads_the_spans_that_the_driver_found(spans: Spans, reviews: Path) -> None:
    """A span exported meanwhile belongs to the next run and does not fail this one."""
    spans.add(1, new(10))
    node = make_example_gen(paths=[str(reviews)], split=SPLIT, spans_directory=str(spans.folder))
    seen = driver._resolve(node.exec_properties)
    assert INPUT_ERROR not in seen
    spans.add(2, new(20))
    from components.ingestion.executor import _sources
    from components.ingestion.settings import IngestionSettings

    sources, _ = _sources(IngestionSettings.from_exec_properties(seen), seen)
    assert [source.span for source in sources] == [0, 1]


def whole(ran: Ran) -> dict[str, bytes]:
    """Return the content of all files and the properties of an artifact, except its name."""
    found = {
        str(path.relative_to(ran.uri)): path.read_bytes()
        for path in sorted(ran.uri.rglob("*"))
        if path.is_file()
    }
    properties = ran.artifact.mlmd_artifact.custom_properties
    found["properties"] = repr(
        sorted((key, str(value)) for key, value in properties.items() if key != "name")
    ).encode()
    return found


def test_cached_file_is_not_parsed_again(
    spans: Spans,
    tmp_path: Path,
    parsed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    progress = tmp_path / "progress.jsonl"
    monkeypatch.setenv("BERT_PROGRESS_FILE", str(progress))
    reviews = write_csv(tmp_path / "the_reviews.csv", [*rows(300), ("", "bad")], HEADER)
    spans.add(1, [*new(10), ("", "good")])
    spans.run(reviews)
    assert len(parsed) == 2
    parsed.clear()
    spans.add(2, new(20, start=5))
    ran = spans.run(reviews)
    assert parsed == ["span-2/feedback.csv"]
    events = [json.loads(line) for line in progress.read_text().splitlines()]
    assert [(e["sources"], e["from_cache"]) for e in events] == [(2, 0), (3, 2)]
    without = spans.run(reviews, cache_directory="")
    assert without.executions == 3
    assert whole(ran) == whole(without)
    assert len(ran.quarantine()) == 2


def test_damaged_cache_entry_is_parsed_again(
    spans: Spans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parsed: list[str]
) -> None:
    monkeypatch.setattr(parse_cache, "_FRAME_BYTES", 1000)
    table = [*rows(100), ("", "bad")]
    reviews = write_csv(tmp_path / "reviews.csv", table, HEADER)
    expected = whole(spans.run(reviews))
    (entry,) = spans.cache.glob("*.entry")
    sound = entry.read_bytes()
    assert len(sound) > 8000
    damages = {
        "empty": b"",
        "cut": sound[:-1],
        "cut in the middle": sound[:4000],
        "a frame lost": sound[len(sound) // 2 :],
        "bit": sound[:5000] + bytes([sound[5000] ^ 1]) + sound[5001:],
        "length": sound[:1] + b"\xff\xff\xff\x7f" + sound[5:],
        "last frame": sound[:-3] + b"???",
    }
    for number, (name, damage) in enumerate(damages.items()):
        entry.write_bytes(damage)
        parsed.clear()
        # Another quarantine directory runs the node again but has no effect on the cache entries.
        ran = spans.run(reviews, quarantine_directory=str(tmp_path / str(number)))
        assert len(parsed) == 1, name
        assert whole(ran) == expected, name
        assert entry.read_bytes() == sound, name
    parsed.clear()
    spans.run(reviews, quarantine_directory=str(tmp_path / "sound"))
    assert parsed == []


@pytest.mark.parametrize(
    ("changes", "reused"),
    [
        ({"split": {"train": 2, "eval": 1, "test": 1}}, True),
        ({"max_bad_share": 0.5}, True),
        ({"labels": ["good", "bad"]}, False),
        ({"max_text_bytes": 999}, False),
        ({"code_digest": "1"}, False),
        ({"data_format": "csv"}, True),
    ],
)
def test_only_settings_that_affect_rows_parse_again(
    spans: Spans, reviews: Path, parsed: list[str], changes: dict[str, Any], reused: bool
) -> None:
    spans.run(reviews)
    parsed.clear()
    spans.run(reviews, **changes)
    assert (parsed == []) == reused


def test_failed_run_leaves_no_cache_entry(spans: Spans, tmp_path: Path) -> None:
    bad = write_csv(tmp_path / "r.csv", [*rows(60), *[("", "good")] * 9], HEADER)
    with pytest.raises(DataError, match="cannot be used"):
        spans.run(bad)
    assert not spans.entries()


def test_entries_unused_by_the_last_runs_are_removed(
    spans: Spans, tmp_path: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse_cache, "KEPT_RUNS", 2)
    spans.run(reviews)
    (first,) = spans.entries()
    other = write_csv(tmp_path / "other.csv", rows(70), HEADER)
    spans.run(other)
    assert len(spans.entries()) == 2
    (spans.cache / f"{'0' * 64}.{'1' * 32}.part").write_text("left behind")
    (spans.cache / "mine.txt").write_text("not ours")
    (spans.cache / "uses.json").write_text(json.dumps([["0" * 64], ["1" * 64]]))
    spans.run(other, max_bad_share=0.5)
    assert first not in spans.entries()
    assert {path.name for path in spans.cache.iterdir()} == {
        "mine.txt",
        "uses.json",
        *spans.entries(),
    }
    (spans.cache / "uses.json").write_text("{")
    spans.run(other, max_bad_share=0.6)
    assert len(json.loads((spans.cache / "uses.json").read_text())) == 1


def test_unwritable_cache_does_not_stop_the_run(spans: Spans, reviews: Path) -> None:
    spans.cache.write_text("a file")
    assert spans.run(reviews).number("examples") == 60
