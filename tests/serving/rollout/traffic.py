"""Rows as the gateway and its callers write them."""

import dataclasses
import itertools
from pathlib import Path

from serving.records.database import Database
from serving.records.tables import OK, FeedbackRow, PredictionRow, ShadowPredictionRow

_numbers = itertools.count()


@dataclasses.dataclass(frozen=True)
class Settings:
    """``[rollout]`` with small numbers."""

    stages: tuple = ("shadow", "canary")
    canary_share: float = 0.1
    min_requests: int = 20
    max_stage_hours: float = 24.0
    max_error_rate: float = 0.01
    max_latency_ratio: float = 2.0
    max_disagreement: float = 0.3
    max_accuracy_loss: float = 0.02


def push(directory: Path, *versions: int) -> None:
    """Create version folders that look like models."""
    for version in versions:
        folder = directory / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"")


def call(
    database: Database,
    version: int | None,
    role: str,
    created: float,
    *,
    labels=("pos",),
    status: str = OK,
    latency_ms: float = 10.0,
    texts=None,
) -> list[str]:
    """Record a request with a text for each label, and return the ids of its predictions."""
    request = f"r{next(_numbers)}"
    texts = texts or [f"{request} text {position}" for position in range(len(labels))]
    rows = [
        PredictionRow(
            id=f"{request}-{position}", request_id=request, position=position, created=created,
            key_id="anonymous", model_version=version, role=role, status=status,
            latency_ms=latency_ms, label=label if status == OK else None, score=0.9, scores=None,
            text=texts[position], text_identity=texts[position], characters=4,
        )
        for position, label in enumerate(labels)
    ]  # fmt: skip
    ids = [row.id for row in rows]
    with database.begin() as session:
        session.add_all(rows)
    return ids


def mirror(
    database: Database,
    ids: list[str],
    version: int,
    created: float,
    *,
    labels=("pos",),
    status: str = OK,
    latency_ms: float = 10.0,
) -> None:
    """Record the candidate's answers to a request."""
    with database.begin() as session:
        session.add_all(
            ShadowPredictionRow(
                prediction_id=each, model_version=version, created=created, status=status,
                latency_ms=latency_ms, label=label if status == OK else None, score=0.9,
            )
            for each, label in zip(ids, labels, strict=True)
        )  # fmt: skip


def vote(database: Database, text: str, label: str, *, key: str = "k", known: bool = True) -> None:
    """Record a vote on a text."""
    with database.begin() as session:
        session.add(
            FeedbackRow(
                created=1.0, updated=1.0, key_id=key, target=f"text:{text}", prediction_id=None,
                text=text, text_identity=text, label=label, known=known, predicted_label=None,
                model_version=None,
            )
        )  # fmt: skip
