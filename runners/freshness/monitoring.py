"""Drift and quality of the deployed version, for ``bert drift`` and ``bert watch``."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modules.contract.errors import UserError
from modules.contract.pushed_model import complete_versions, read_labels, version_folder
from pipeline.config import Config
from runners.lineage.deployed_run import find_run, read_held_out, read_source
from runners.lineage.evaluation import read_evaluation

if TYPE_CHECKING:
    from serving.client import Client
    from serving.monitoring.check import DriftReport
    from serving.monitoring.descriptions import Descriptions
    from serving.monitoring.quality import QualityReport
    from serving.monitoring.reference import Reference
    from serving.records.database import Database

#: Maximum number of held-out texts in the reference.
REFERENCE_TEXTS = 2_000
#: For one request of 64 texts, on a busy server.
_TIMEOUT_SECONDS = 120.0
#: File of the last window's descriptions, next to the reference.
_WINDOW = "window.npz"


def drift_report(config: Config, database: "Database", now: float) -> "DriftReport | None":
    """Test the recent traffic against the held-out data of the deployed version.

    Args:
        config: gives the server, the window and the false-alarm rate.
        database: the gateway's database.
        now: end of the window, seconds since 1970.

    Returns:
        The tests; None if there are too few different texts to decide.

    Raises:
        UserError: texts are not stored, the server cannot be reached, or the run that made the
            version is unknown.
        SQLAlchemyError: the database failed or is unavailable.
    """
    from serving.monitoring.check import check
    from serving.monitoring.window import count_texts, read_texts

    settings = config.drift
    since = now - settings.window_hours * 3600
    answered, kept = count_texts(database, since, now)
    if min(answered, settings.max_texts) < settings.min_texts:
        return None
    if kept < settings.min_texts:
        raise UserError(
            f"{kept} of {answered} recent texts are stored, but drift needs {settings.min_texts}; "
            "set gateway.store_texts=true"
        )
    texts = read_texts(database, since, now, settings.max_texts)
    if len(texts) < settings.min_texts:
        return None
    reference, window = _describe_both(config, database, texts)
    report = check(
        reference.texts, window, reference.labels, false_alarm_rate=settings.false_alarm_rate
    )
    return dataclasses.replace(
        report, model_version=reference.version, window_start=since, window_end=now
    )


def quality_report(config: Config, database: "Database", now: float) -> "QualityReport":
    """Measure the deployed version's accuracy on recent feedback, or estimate it without.

    Args:
        config: gives the server, the window and the intervals' confidence.
        database: the gateway's database.
        now: end of the window, seconds since 1970.

    Returns:
        The values that are known; ``notes`` say why others are missing.

    Raises:
        SQLAlchemyError: the database failed or is unavailable.
    """
    from serving.feedback.store import FeedbackStore
    from serving.monitoring.quality import QualityReport, macro_f1
    from serving.rollout.intervals import wilson

    settings = config.drift
    since = now - settings.window_hours * 3600
    version = deployed_version(config, database)
    outcomes = [
        outcome
        for outcome in FeedbackStore(database).feedback_outcomes(since)
        if outcome.created < now and outcome.model_version == version
    ]
    predicted = [outcome.predicted_label for outcome in outcomes]
    true = [outcome.label for outcome in outcomes]
    right = sum(answer == label for answer, label in zip(predicted, true, strict=True))
    f1 = macro_f1(predicted, true, settings.confidence) if outcomes else (None, None)
    report = QualityReport(
        model_version=version,
        n=len(outcomes),
        accuracy=right / len(outcomes) if outcomes else None,
        interval=wilson(right, len(outcomes), settings.confidence) if outcomes else None,
        macro_f1=f1[0],
        macro_f1_interval=f1[1],
        confidence=settings.confidence,
        window_start=since,
        window_end=now,
        notes=() if outcomes else ("no feedback on recent predictions",),
    )
    return _with_estimate(config, database, _with_evaluation(config, report))


def deployed_version(config: Config, database: "Database") -> int | None:
    """Return the rollout's stable version, or else the newest pushed one."""
    from serving.rollout.state import RolloutStore

    if config.rollout.enabled:
        state = RolloutStore(database).read(config.gateway.model_name)
        if state is not None and state.stable is not None:
            return state.stable
    return max(complete_versions(config.push_directory()), default=None)


def load_reference(config: Config, version: int, client: "Client") -> "Reference":
    """Load a version's reference from its cache, or make it by asking the model server.

    Args:
        config: gives the pipeline, its metadata and the push directory.
        version: the version that ``client`` calls.
        client: client of the model server.

    Raises:
        UserError: the run that made the version is unknown, or the server rejects a request.
    """
    import numpy as np

    from serving.monitoring.describe import describe
    from serving.monitoring.reference import Reference

    source = read_source(config, version)
    folder = _folder(config, version)
    cached = Reference.load(folder)
    if cached is not None and (cached.version, cached.source) == (version, source):
        return cached
    labels = read_labels(version_folder(config.push_directory(), version))
    held_out, true_labels = zip(*read_held_out(find_run(config, source)), strict=True)
    drawn = draw_texts(held_out, REFERENCE_TEXTS)
    with _user_errors():
        texts = describe([held_out[row] for row in drawn], client, labels)
    index = {label: position for position, label in enumerate(labels)}
    true = np.array([index.get(true_labels[row], -1) for row in drawn], np.int32)
    reference = Reference(version, tuple(labels), source, texts, true)
    (folder / _WINDOW).unlink(missing_ok=True)  # may be of another model with the same number
    reference.save(folder)
    return reference


def draw_texts(texts: Sequence[str], limit: int) -> list[int]:
    """Draw different texts as ``serving.monitoring.window`` does; return their indices."""
    from modules.contract.text_identity import text_identity

    rows: dict[bytes, int] = {}
    for row, text in enumerate(texts):
        rows.setdefault(text_identity(text), row)
    return [rows[identity] for identity in sorted(rows)[:limit]]


def _with_evaluation(config: Config, report: "QualityReport") -> "QualityReport":
    """Add the accuracy on the test split."""
    if report.model_version is None:
        return _with_note(report, "no version has been pushed")
    try:
        run = find_run(config, read_source(config, report.model_version))
    except UserError as error:
        return _with_note(report, f"the evaluation is not known: {error}")
    evaluation = read_evaluation(run)
    rows = evaluation.overall() if evaluation else []
    accuracy = next((row.candidate for row in rows if row.metric == "accuracy"), None)
    if accuracy is None:
        return _with_note(report, f"run {run.run_id} has no evaluation")
    return dataclasses.replace(report, evaluation_accuracy=accuracy)


def _with_estimate(
    config: Config, database: "Database", report: "QualityReport"
) -> "QualityReport":
    """Add the accuracy that is estimated from the model's confidence."""
    from serving.monitoring.estimate import estimate_accuracy
    from serving.monitoring.window import read_texts

    settings = config.drift
    texts = read_texts(database, report.window_start, report.window_end, settings.max_texts)
    if len(texts) < settings.min_texts:
        note = f"no estimate: {len(texts)} texts, and drift.min_texts is {settings.min_texts}"
        return _with_note(report, note)
    try:
        reference, window = _describe_both(config, database, texts)
    except UserError as error:
        return _with_note(report, f"no estimate: {error}")
    estimate = estimate_accuracy(
        reference.texts.scores, reference.correct, window.scores, settings.confidence
    )
    return dataclasses.replace(
        report,
        estimated_accuracy=estimate.accuracy,
        estimated_interval=(estimate.low, estimate.high),
        estimated_from=len(texts),
    )


def _with_note(report: "QualityReport", note: str) -> "QualityReport":
    return dataclasses.replace(report, notes=(*report.notes, note))


def _describe_both(
    config: Config, database: "Database", texts: list[str]
) -> tuple["Reference", "Descriptions"]:
    """Return the deployed version's reference, and its descriptions of a window's texts.

    Raises:
        UserError: no version has been pushed, the run that made it is unknown, or the server
            cannot be reached.
    """
    from serving.client import Client

    version = deployed_version(config, database)
    if version is None:
        raise UserError(
            f"no version in {config.push_directory()}; push one with `bert run`, or set "
            "pusher.base_directory to the folder that the model server reads"
        )
    with Client(
        config.gateway.server_url,
        model=config.gateway.model_name,
        version=version,
        timeout=_TIMEOUT_SECONDS,
    ) as client:
        reference = load_reference(config, version, client)
        return reference, _describe_cached(config, reference, texts, client)


def _describe_cached(
    config: Config, reference: "Reference", texts: list[str], client: "Client"
) -> "Descriptions":
    """Describe a window; ask the server only for texts that the last window did not have."""
    from modules.contract.text_identity import text_identity
    from serving.monitoring.describe import describe
    from serving.monitoring.descriptions import concatenate
    from serving.monitoring.reference import load_descriptions, save_descriptions

    path = _folder(config, reference.version) / _WINDOW
    wanted = [text_identity(text).hex().encode() for text in texts]
    known = load_descriptions(path)
    rows = {name: row for row, name in enumerate(known.identities.tolist())} if known else {}
    new = [text for text, name in zip(texts, wanted, strict=True) if name not in rows]
    parts = [known.take([rows[name] for name in wanted if name in rows])] if known else []
    if new:
        with _user_errors():
            parts.append(describe(new, client, reference.labels))
    together = concatenate(parts)
    rows = {name: row for row, name in enumerate(together.identities.tolist())}
    window = together.take([rows[name] for name in wanted])
    if new:
        save_descriptions(path, window)
    return window


def _folder(config: Config, version: int) -> Path:
    root = config.pipeline_root()
    if "://" in root:
        raise UserError(
            f"the reference of version {version} is stored under pipeline.root, which must be a "
            f"folder on this machine; received {root}; mount it, or set pipeline.root=FOLDER and "
            "metadata.url"
        )
    return Path(root, "monitoring", str(version))


@contextlib.contextmanager
def _user_errors() -> Iterator[None]:
    from serving.client import ClientError, ConnectionFailedError

    try:
        yield
    except ConnectionFailedError as error:
        raise UserError(
            f"{error.message}; drift needs the model server: start one with `bert serve`, or set "
            "gateway.server_url"
        ) from error
    except ClientError as error:
        raise UserError(f"the model server rejected the request: {error}") from error
