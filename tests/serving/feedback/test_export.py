import csv
import itertools
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from modules.contract import features
from modules.contract.errors import UserError
from modules.contract.text_identity import text_identity
from serving.feedback import span_files
from serving.feedback.export import ExportSettings, SpanReport, export_span
from serving.feedback.reviews import add_review
from serving.feedback.span_list import list_spans
from serving.feedback.store import FeedbackStore
from serving.records.api_keys import FEEDBACK, ApiKeys
from serving.records.database import Database
from serving.records.tables import SpanRow, SpanTextRow

REPOSITORY = Path(__file__).parents[3]
LABELS = ("neg", "pos")
NASTY = [
    '"quoted", with commas',
    "lines\r\nand\rreturns\n",
    "tab\tand 'apostrophes'",
    "\ufeffünï ☃",
]


def export(database: Database, spans: Path, **values) -> SpanReport:
    held_out = {text_identity(text).hex() for text in values.pop("held_out", ())}
    settings = ExportSettings(**{"max_share_per_key": 1.0, **values})
    return export_span(database, spans, held_out, LABELS, settings)


def vote(database: Database, *texts: str, key: str = "k", label: str = "pos") -> None:
    store = FeedbackStore(database)
    for text in texts:
        store.add_vote(key_id=key, label=label, labels=LABELS, text=text)


def rows(folder: Path) -> list[list[str]]:
    with (folder / "feedback.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


@pytest.fixture
def spans(tmp_path: Path) -> Path:
    return tmp_path / "feedback"


def test_span_holds_exactly_the_usable_votes(database: Database, spans: Path) -> None:
    vote(database, *NASTY)
    vote(database, "held  OUT", "new class", "disputed")
    vote(database, "new class", label="odd")
    vote(database, "disputed", key="l", label="neg")
    report = export(database, spans, held_out=["Held out"])
    assert (report.number, report.examples, report.path) == (1, 4, spans / "span-1")
    header, *found = rows(spans / "span-1")
    assert header == ["text", "label"]
    assert sorted(found) == sorted([text, "pos"] for text in NASTY)
    content = (spans / "span-1/feedback.csv").read_bytes()
    assert content.startswith(b"text,label\r\n")
    assert content.endswith(b"\r\n")
    [conflict] = report.conflicts
    assert conflict.votes == (("k", "pos"), ("l", "neg"))
    assert [each.text for each in report.new_classes] == ["new class"]
    assert report.counts["held_out"] == 1


def test_summary_is_written_next_to_the_rows(database: Database, spans: Path) -> None:
    vote(database, "a", "disputed")
    vote(database, "disputed", key="l", label="neg")
    report = export(database, spans)
    summary = json.loads((spans / "span-1/summary.json").read_text("utf-8"))
    assert summary["sha256"] == report.digest == span_files.digest(spans / "span-1")
    assert summary["counts"] == report.counts
    assert summary["conflicts"][0]["votes"] == [
        {"key": "k", "label": "pos"},
        {"key": "l", "label": "neg"},
    ]
    assert not list(spans.glob(".*")), "nothing unfinished is left"
    assert (spans / "span-1/feedback.csv").stat().st_mode & 0o222 == 0


def test_spans_are_for_the_owner_only(database: Database, spans: Path) -> None:
    vote(database, "a")
    before = os.umask(0o022)
    try:
        export(database, spans)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (spans, *spans.rglob("*"))}
    assert modes == {
        "feedback": 0o700,
        "span-1": 0o700,
        "feedback.csv": 0o400,
        "summary.json": 0o400,
    }


def test_equal_votes_give_equal_bytes(tmp_path: Path) -> None:
    found = []
    for name in "ab":
        database = Database(f"sqlite:///{tmp_path}/{name}.sqlite")
        vote(database, *NASTY, "one", "two")
        vote(database, "two", key="l", label="neg")
        export(database, tmp_path / name)
        database.close()
        files = sorted((tmp_path / name / "span-1").iterdir())
        found.append({file.name: file.read_bytes() for file in files})
    assert found[0] == found[1]


def test_text_is_exported_only_once(database: Database, spans: Path) -> None:
    vote(database, "first")
    export(database, spans)
    before = (spans / "span-1/feedback.csv").read_bytes()
    vote(database, "FIRST", "second", label="neg")
    report = export(database, spans)
    assert (report.number, report.counts["already_exported"]) == (2, 1)
    assert rows(spans / "span-2")[1:] == [["second", "neg"]]
    assert (spans / "span-1/feedback.csv").read_bytes() == before


def test_export_without_new_votes_writes_no_span(database: Database, spans: Path) -> None:
    assert export(database, spans).number is None
    vote(database, "a")
    export(database, spans)
    report = export(database, spans)
    assert (report.number, report.path, report.examples) == (None, None, 0)
    assert list(span_files.span_folders(spans)) == [1]
    assert len(list_spans(database, str(spans))) == 1


def test_share_is_capped_only_if_several_keys_may_vote(database: Database, spans: Path) -> None:
    """With a single key, nobody can outvote it."""
    vote(database, "a", "b", "c")
    assert export(database, spans, max_share_per_key=0.5).examples == 3
    vote(database, "d", "e", "f")
    ApiKeys(database).create("another", [FEEDBACK])
    assert export(database, spans, max_share_per_key=0.5).counts["over_share"] == 3


def test_review_makes_a_conflict_usable(database: Database, spans: Path) -> None:
    vote(database, "disputed")
    vote(database, "disputed", key="l", label="neg")
    assert export(database, spans).number is None
    add_review(database, text_identity("disputed").hex()[:8], "neg", reviewer="me", labels=LABELS)
    assert export(database, spans).number == 1
    assert rows(spans / "span-1")[1:] == [["disputed", "neg"]]


def split_of(identity: bytes) -> str:
    return features.SPLITS[identity[0] % 3]


def texts_of(split: str, count: int) -> list[str]:
    texts = (f"text {number}" for number in itertools.count())
    return list(
        itertools.islice((text for text in texts if split_of(text_identity(text)) == split), count)
    )


def review(database: Database, text: str, label: str) -> None:
    identity = text_identity(text).hex()
    add_review(database, identity, label, reviewer="me", labels=LABELS, new_class=True)


def test_new_class_is_set_aside_until_it_is_in_every_split(database: Database, spans: Path) -> None:
    by_split = [texts_of(split, 1)[0] for split in features.SPLITS]
    known, mistyped = texts_of("train", 3)[1:]
    vote(database, *by_split, known, mistyped)
    review(database, mistyped, "psoitive")
    for text in by_split[:2]:
        review(database, text, "sarcastic")

    report = export(database, spans, split_of=split_of)
    assert {text for text, _ in rows(spans / "span-1")[1:]} == {by_split[2], known}
    aside = {(each.text, each.label) for each in report.incomplete_classes}
    assert aside == {(mistyped, "psoitive"), *((text, "sarcastic") for text in by_split[:2])}
    assert report.counts["incomplete_class"] == 3
    summary = json.loads((spans / "span-1" / "summary.json").read_text("utf-8"))
    assert {each["label"] for each in summary["incomplete_classes"]} == {"psoitive", "sarcastic"}

    late = texts_of("test", 2)[1]
    vote(database, late)
    review(database, late, "sarcastic")
    report = export(database, spans, split_of=split_of)
    assert sorted(rows(spans / "span-2")[1:]) == sorted(
        [text, "sarcastic"] for text in (*by_split[:2], late)
    )
    assert [each.label for each in report.incomplete_classes] == ["psoitive"]


def test_caps_do_not_cut_a_new_class_out_of_a_split(database: Database, spans: Path) -> None:
    for split in features.SPLITS:
        [text] = texts_of(split, 1)
        vote(database, text)
        review(database, text, "sarcastic")
    report = export(database, spans, split_of=split_of, max_examples=2)
    assert report.number is None
    assert report.counts["incomplete_class"] == 3


def test_reviewed_label_that_runs_reject_is_not_exported(database: Database, spans: Path) -> None:
    vote(database, "a", "b")
    review(database, "a", "sarcastic")
    report = export(database, spans, allowed_labels=LABELS)
    assert rows(spans / "span-1")[1:] == [["b", "pos"]]
    assert [each.text for each in report.new_classes] == ["a"]


def test_concurrent_exports_write_each_text_once(database: Database, spans: Path) -> None:
    vote(database, *(f"text {number}" for number in range(20)))
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: export(database, spans), range(4)))
    assert sorted(report.examples for report in reports) == [0, 0, 0, 20]
    assert list(span_files.span_folders(spans)) == [1]


CRASH = """
import os, signal, sys
from serving.feedback import export, span_files
from serving.records.database import Database
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
where = sys.argv[3]
if where == "before the rename": span_files.Path.rename = die
if where == "after the rename": export._record = die
database, labels, settings = Database(sys.argv[1]), ("neg", "pos"), export.ExportSettings()
export.export_span(database, sys.argv[2], set(), labels, settings)
"""


@pytest.mark.parametrize("where", ["before the rename", "after the rename"])
def test_next_export_recovers_from_a_killed_one(
    database: Database, database_url: str, spans: Path, where: str
) -> None:
    vote(database, *NASTY)
    killed = subprocess.run(
        [sys.executable, "-c", CRASH, database_url, spans, where],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, "")
    renamed = where == "after the rename"
    assert (spans / "span-1").exists() is renamed
    if renamed:
        assert [span.state for span in list_spans(database, str(spans))] == ["unrecorded"]
        before = {file: file.read_bytes() for file in (spans / "span-1").iterdir()}
    vote(database, "later")
    report = export(database, spans)
    assert report.healed == ((1,) if renamed else ())
    assert report.number == (2 if renamed else 1)
    assert [span.state for span in list_spans(database, str(spans))] == ["sound"] * report.number
    found = [
        row[0]
        for number in range(1, report.number + 1)
        for row in rows(spans / f"span-{number}")[1:]
    ]
    assert sorted(found) == sorted([*NASTY, "later"])
    if renamed:
        assert {file: file.read_bytes() for file in (spans / "span-1").iterdir()} == before
    assert not list(spans.glob(".*"))


def test_unrecorded_span_is_recorded_with_its_texts(database: Database, spans: Path) -> None:
    vote(database, "a")
    data = span_files.encode_rows([("A", "pos"), ("b", "neg")], ("text", "label"))
    span_files.write_span(spans, 4, data, {"counts": {"votes": 2}})
    report = export(database, spans)
    assert (report.healed, report.number, report.counts["already_exported"]) == ((4,), None, 1)
    vote(database, "c")
    assert export(database, spans).number == 5
    with database.read() as session:
        span = session.get_one(SpanRow, 4)
        assert (span.examples, span.summary) == (2, {"votes": 2})
        assert session.scalar(select(func.count()).select_from(SpanTextRow)) == 3


def test_span_numbers_are_not_reused(database: Database, spans: Path) -> None:
    vote(database, "a")
    folder = export(database, spans).path
    assert folder is not None
    folder.rename(spans.parent / "elsewhere")
    vote(database, "b")
    assert export(database, spans).number == 2
    assert [span.state for span in list_spans(database, str(spans))] == ["missing", "sound"]


def test_changed_span_is_reported(database: Database, spans: Path) -> None:
    vote(database, "a")
    export(database, spans)
    file = spans / "span-1/feedback.csv"
    file.chmod(0o644)
    file.write_text("text,label\r\na,neg\r\n")
    assert [span.state for span in list_spans(database, str(spans))] == ["changed"]


def test_span_uses_the_given_column_names(database: Database, spans: Path) -> None:
    vote(database, "a")
    columns = ("review, in words", "stars")
    export_span(database, spans, set(), LABELS, ExportSettings(), columns=columns)
    assert rows(spans / "span-1")[0] == list(columns)


def test_remote_folder_is_refused(database: Database) -> None:
    with pytest.raises(UserError, match="local or mounted folder, not gs://bucket/spans"):
        export_span(database, "gs://bucket/spans", set(), LABELS, ExportSettings())


def test_unwritable_folder_loses_no_votes(database: Database, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    vote(database, "a")
    with pytest.raises(UserError, match=r"cannot be written: .*; set feedback\.spans"):
        export(database, tmp_path / "file/spans")
    assert export(database, tmp_path / "spans").examples == 1


def test_foreign_span_folder_stops_the_export(database: Database, spans: Path) -> None:
    os.makedirs(spans / "span-1")
    vote(database, "a")
    with pytest.raises(UserError, match="move its folder away"):
        export(database, spans)
