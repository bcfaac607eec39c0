"""Predictions that the database refuses, queue limits, and shutdown."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from serving.feedback.store import FeedbackStore
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.recorder import Recorder
from serving.records.database import Database
from serving.records.tables import PredictionRow, ShadowPredictionRow

PATIENCE = 30


def prediction(number: int, **changes: object) -> PredictionRow:
    values = {
        "id": f"r-{number}",
        "request_id": "r",
        "position": number,
        "created": 1000.0,
        "key_id": "anonymous",
        "model_version": 7,
        "role": "stable",
        "status": "ok",
        "latency_ms": 1.0,
        "label": "good",
        "score": 0.75,
        "scores": {"good": 0.75, "bad": 0.25},
        "text": "a",
        "text_identity": "0" * 64,
        "characters": 1,
    }
    return PredictionRow(**{**values, **changes})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/records.sqlite")
    yield database
    database.close()


def ids(database: Database) -> list[str]:
    with database.read() as session:
        return sorted(session.scalars(select(PredictionRow.id)))


def counts(metrics: GatewayMetrics) -> dict[str, float]:
    page = metrics.page().decode().splitlines()
    name = "bert_gateway_records_total{outcome="
    return {line.split('"')[1]: float(line.split()[-1]) for line in page if line.startswith(name)}


def test_refused_record_does_not_block_the_others(database: Database) -> None:
    metrics = GatewayMetrics()
    recorder = Recorder(FeedbackStore(database), metrics)
    assert recorder.record([prediction(0), prediction(1, status=None), prediction(2)])
    recorder.start()
    assert recorder.flush(PATIENCE)
    recorder.stop(PATIENCE)
    assert ids(database) == ["r-0", "r-2"]
    assert counts(metrics) == {"written": 2, "dropped": 1}


def test_records_over_the_queue_limit_are_dropped(database: Database) -> None:
    metrics = GatewayMetrics()
    recorder = Recorder(FeedbackStore(database), metrics, max_waiting=2)
    assert recorder.record([prediction(0), prediction(1)])
    assert not recorder.record([prediction(2)])
    recorder.start()
    recorder.stop(PATIENCE)
    assert ids(database) == ["r-0", "r-1"]
    assert not recorder.record([prediction(3)]), "it has stopped"
    assert counts(metrics)["dropped"] == 2


def test_records_over_the_memory_limit_are_dropped(database: Database) -> None:
    metrics = GatewayMetrics()
    recorder = Recorder(FeedbackStore(database), metrics, max_bytes=100_000)
    assert recorder.record([prediction(0, text="a" * 50_000)])
    assert not recorder.record([prediction(1, text="a" * 50_000)])
    assert not recorder.record([prediction(2, text="\N{SNOWMAN}" * 25_000)]), "two bytes each"
    many = {f"label {number}": 0.0 for number in range(1000)}
    assert not recorder.record([prediction(3, scores=many)])
    assert recorder.record([prediction(4)])
    recorder.start()
    assert recorder.flush(PATIENCE)
    assert recorder.record([prediction(5, text="a" * 50_000)]), "written records free their memory"
    recorder.stop(PATIENCE)
    assert ids(database) == ["r-0", "r-4", "r-5"]
    assert counts(metrics) == {"written": 3, "dropped": 3}


def test_long_records_are_written_in_several_transactions(database: Database) -> None:
    class Counting(FeedbackStore):
        sizes: ClassVar[list[int]] = []

        def record_predictions(
            self, rows: list[PredictionRow], shadows: list[ShadowPredictionRow] = ()
        ) -> None:
            self.sizes.append(sum(len(row.text or "") for row in rows))
            super().record_predictions(rows, shadows)

    recorder = Recorder(Counting(database), GatewayMetrics())
    assert recorder.record([prediction(number, text="a" * 6_000_000) for number in range(7)])
    recorder.start()
    recorder.stop(PATIENCE)
    assert len(ids(database)) == 7
    assert max(Counting.sizes) <= 12_000_000


class AwayStore(FeedbackStore):
    """A store whose database does not answer."""

    def record_predictions(
        self, rows: list[PredictionRow], shadows: list[ShadowPredictionRow] = ()
    ) -> None:
        raise OperationalError("INSERT", {}, OSError("connection refused"))


def test_recorder_stops_while_the_database_is_unavailable(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(AwayStore(database), GatewayMetrics())
    recorder.start()
    recorder.record([prediction(0)])
    assert not recorder.flush(PATIENCE)
    assert not recorder.record([prediction(1)]), "it may be lost"
    recorder.stop(PATIENCE)
    assert "2 predictions" in caplog.text
