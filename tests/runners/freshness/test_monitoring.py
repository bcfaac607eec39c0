"""Drift and quality from a real database, real metadata and real example files."""

import gzip
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import serving.client
from modules.contract.errors import UserError
from pipeline.config import Config, load
from runners.freshness.monitoring import deployed_version, drift_report, quality_report
from runners.lineage.deployed_run import read_examples
from serving.protocol.protos import example_pb2
from serving.records.database import Database
from serving.records.tables import FeedbackRow, RolloutRow
from tests.serving.monitoring.made_descriptions import WordClient
from tests.serving.records.rows import prediction

NOW = 10_000.0


def write_split(folder: Path, rows: list[tuple[str, str]]) -> None:
    folder.mkdir(parents=True)
    with gzip.open(folder / "data_tfrecord-00000-of-00001.gz", "wb") as file:
        for text, label in rows:
            example = example_pb2.Example()
            example.features.feature["text"].bytes_list.value.append(text.encode())
            example.features.feature["label"].bytes_list.value.append(label.encode())
            record = example.SerializeToString()
            file.write(struct.pack("<QI", len(record), 0) + record + struct.pack("<I", 0))


def films(count: int, start: int) -> list[tuple[str, str]]:
    """Return texts with labels; the stub of the server is right except on every tenth."""
    rows = []
    for n in range(start, start + count):
        good = n % 2 == 0
        label = "pos" if good != (n % 10 == 0) else "neg"
        rows.append(
            (f"a {'good' if good else 'poor'} film of {n % 37} hours, number {n + 1000}", label)
        )
    return rows


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(
        assignments=[
            f"pipeline.root={tmp_path}/root",
            f"pusher.base_directory={tmp_path}/serving",
            "pipeline.name=test",
            "drift.min_texts=50",
            "drift.max_texts=200",
            "drift.window_hours=1",
        ],
        environ={},
    )


@pytest.fixture
def pushed(config: Config, metadata: Any, add_run: Callable[..., None], tmp_path: Path) -> Config:
    """Record a run whose model was pushed as version 1."""
    add_run("run-1", version="1")
    examples = tmp_path / "examples"
    write_split(examples / "Split-eval", films(150, 0))
    write_split(examples / "Split-test", films(150, 150))
    outputs = {"examples": ("Examples", str(examples), {})}
    metadata.add_node("run-1", "ExampleGen", outputs=outputs)
    extra = tmp_path / "serving" / "1" / "assets.extra"
    extra.mkdir(parents=True)
    (extra.parent / "saved_model.pb").touch()
    (extra / "labels.txt").write_text("neg\npos\n")
    manifest = {"fingerprint": "f", "source": "/m/run-1", "version": 1}
    (extra / "push.json").write_text(json.dumps(manifest))
    return config


@pytest.fixture
def database(config: Config) -> Iterator[Database]:
    database = Database(config.database_url())
    yield database
    database.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> WordClient:
    client = WordClient()
    monkeypatch.setattr(serving.client, "Client", lambda *_, **__: client)
    return client


def send(database: Database, texts: list[str], **values: Any) -> None:
    with database.begin() as session:
        session.add_all(
            prediction(f"{len(texts)}-{n}", text, created=NOW - 60, **values)
            for n, text in enumerate(texts)
        )


def vote(database: Database, number: int, label: str, predicted: str, **values: Any) -> None:
    row = {
        "created": NOW - 30,
        "updated": NOW - 30,
        "key_id": "voter",
        "target": f"v{number}",
        "prediction_id": f"v{number}",
        "text": f"text {number}",
        "text_identity": f"{number:064x}",
        "label": label,
        "known": True,
        "predicted_label": predicted,
        "model_version": 1,
    }
    with database.begin() as session:
        session.add(FeedbackRow(**(row | values)))


def test_traffic_that_resembles_the_held_out_data_is_not_drift(
    pushed: Config, database: Database, server: WordClient
) -> None:
    send(database, [text for text, _ in films(120, 500)])
    report = drift_report(pushed, database, NOW)
    assert report is not None
    assert not report.raised
    assert (report.reference_texts, report.window_texts) == (300, 120)
    assert (report.model_version, report.window_start, report.window_end) == (1, 6400.0, NOW)


def test_traffic_of_another_kind_is_drift(
    pushed: Config, database: Database, server: WordClient
) -> None:
    send(database, [f"my good order {n} never came; refund me \u2603 please" for n in range(100)])
    report = drift_report(pushed, database, NOW)
    assert report is not None
    raised = {test.name for test in report.tests if test.raised}
    assert {"vocabulary", "unknown", "classes"} <= raised


def test_one_repeated_text_is_too_little_to_test(
    pushed: Config, database: Database, server: WordClient
) -> None:
    send(database, ["spam spam"] * 500)
    assert drift_report(pushed, database, NOW) is None
    assert server.asked == []


def test_each_text_is_described_once(
    pushed: Config, database: Database, server: WordClient
) -> None:
    texts = [text for text, _ in films(100, 500)]
    send(database, texts[:80])
    first = drift_report(pushed, database, NOW)
    assert len(server.asked) == 300 + 80
    assert drift_report(pushed, database, NOW) == first
    assert len(server.asked) == 300 + 80
    send(database, texts[80:])
    drift_report(pushed, database, NOW)
    assert sorted(server.asked[380:]) == sorted(texts[80:])
    folder = Path(pushed.pipeline_root(), "monitoring", "1")
    (folder / "reference.npz").write_bytes(b"damaged")
    assert drift_report(pushed, database, NOW) is not None
    assert (folder / "reference.json").is_file()


def test_drift_without_stored_texts_names_the_setting(
    pushed: Config, database: Database, server: WordClient
) -> None:
    send(database, [text for text, _ in films(120, 500)])
    with database.begin() as session:
        from serving.records.tables import PredictionRow

        session.query(PredictionRow).update({"text": None})
    with pytest.raises(UserError, match=r"0 of 120 recent texts are stored.*store_texts=true"):
        drift_report(pushed, database, NOW)


def test_unreachable_server_is_a_user_error(pushed: Config, database: Database) -> None:
    send(database, [text for text, _ in films(120, 500)])
    unreachable = pushed.model_copy(
        update={"gateway": pushed.gateway.model_copy(update={"server_url": "http://127.0.0.1:9"})}
    )
    with pytest.raises(UserError, match=r"start one with `bert serve`, or set gateway.server_url"):
        drift_report(unreachable, database, NOW)
    report = quality_report(unreachable, database, NOW)
    assert report.evaluation_accuracy == 0.9
    assert any(note.startswith("no estimate: ") for note in report.notes)


def test_version_that_no_run_made_is_a_user_error(
    pushed: Config, database: Database, server: WordClient
) -> None:
    path = Path(pushed.push_directory(), "1", "assets.extra", "push.json")
    path.write_text(path.read_text().replace("/m/run-1", "/elsewhere"))
    send(database, [text for text, _ in films(120, 500)])
    with pytest.raises(UserError, match="no run of pipeline 'test' made the model /elsewhere"):
        drift_report(pushed, database, NOW)
    path.unlink()
    with pytest.raises(UserError, match=r"version 1 .* pusher.base_directory"):
        drift_report(pushed, database, NOW)


def test_quality_counts_feedback_on_the_deployed_version_in_the_window(
    pushed: Config, database: Database, server: WordClient
) -> None:
    for number in range(40):
        vote(database, number, "pos" if number % 4 else "neg", "pos")
    vote(database, 90, "neg", "pos", model_version=2)
    vote(database, 91, "neg", "pos", created=100.0, updated=100.0)
    vote(database, 92, "neg", "pos", created=NOW + 1, updated=NOW + 1)
    report = quality_report(pushed, database, NOW)
    assert (report.n, report.accuracy, report.model_version) == (40, 0.75, 1)
    assert report.interval == pytest.approx((0.5981, 0.8581), abs=1e-4)
    assert report.macro_f1 == pytest.approx((2 * 30 / 70 + 0) / 2)
    assert report.evaluation_accuracy == 0.9
    assert report.estimated_accuracy is None
    assert report.notes == ("no estimate: 0 texts, and drift.min_texts is 50",)


def test_quality_without_feedback_is_estimated(
    pushed: Config, database: Database, server: WordClient
) -> None:
    send(database, [text for text, _ in films(120, 500)])
    report = quality_report(pushed, database, NOW)
    assert (report.n, report.accuracy, report.estimated_from) == (0, None, 120)
    assert report.estimated_accuracy == pytest.approx(0.9, abs=0.02)
    json.dumps(report.to_dict())


def test_stable_version_of_a_rollout_is_the_deployed_one(
    pushed: Config, database: Database
) -> None:
    newest = Path(pushed.push_directory(), "2")
    newest.mkdir()
    (newest / "saved_model.pb").touch()
    assert deployed_version(pushed, database) == 2
    rollout = pushed.model_copy(
        update={"rollout": pushed.rollout.model_copy(update={"enabled": True})}
    )
    assert deployed_version(rollout, database) == 2
    with database.begin() as session:
        session.add(
            RolloutRow(
                model="default",
                revision=1,
                stable=1,
                previous=None,
                candidate=2,
                stage="canary",
                stage_started=0.0,
                rejected={},
            )
        )
    assert deployed_version(rollout, database) == 1


def test_quality_without_a_pushed_version_says_so(config: Config, database: Database) -> None:
    report = quality_report(config, database, NOW)
    assert report.model_version is None
    assert "no version has been pushed" in report.notes


def test_damaged_file_of_a_split_is_named(tmp_path: Path) -> None:
    write_split(tmp_path / "Split-eval", [("a", "x"), ("b\n\u00e9", "y")])
    assert list(read_examples(str(tmp_path / "Split-eval"))) == [("a", "x"), ("b\n\u00e9", "y")]
    (file,) = (tmp_path / "Split-eval").iterdir()
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(UserError, match=r"data_tfrecord-00000-of-00001.gz cannot be read"):
        list(read_examples(str(tmp_path / "Split-eval")))
