"""Exports agreed labels as a span, and records which texts it holds.

The folder is renamed into place before the transaction that records it commits. A crash between the
two leaves a folder that the database does not know; the next export records it unchanged, because a
run may already have read it.
"""

import dataclasses
import hashlib
import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from modules.contract import features
from modules.contract.errors import UserError
from modules.contract.text_identity import text_identity
from serving.feedback import span_files
from serving.feedback.reasons import CONFLICT, NEW_CLASS
from serving.feedback.selection import (
    Candidate,
    ExportSettings,
    Selection,
    read_selection,
)
from serving.records.database import Database, is_postgresql
from serving.records.tables import SpanRow, SpanTextRow

__all__ = ["ExportSettings", "SpanReport", "export_span"]

#: PostgreSQL's advisory lock for exports: any number that nothing else uses.
_EXPORT_LOCK = 0x62_65_72_74  # "bert"


@dataclasses.dataclass(frozen=True)
class SpanReport:
    """The result of an export.

    Attributes:
        counts: votes, and texts by outcome; see ``Selection.counts``.
        conflicts: texts whose voters disagree, with the votes.
        new_classes: texts whose label is not in the vocabulary, with the votes.
        healed: spans that a crash of an earlier export left unrecorded, recorded now.
        number: number of the new span; None when nothing was usable and no span was written.
        path: its folder; None without a span.
        digest: SHA-256 of its rows as hex digits; "" without a span.
        examples: number of rows.
    """

    counts: dict[str, int]
    conflicts: tuple[Candidate, ...]
    new_classes: tuple[Candidate, ...]
    healed: tuple[int, ...]
    number: int | None = None
    path: Path | None = None
    digest: str = ""
    examples: int = 0


def export_span(
    database: Database,
    spans_directory: str | os.PathLike[str],
    held_out: Collection[str],
    labels: Collection[str],
    settings: ExportSettings,
    *,
    columns: tuple[str, str] = (features.TEXT, features.LABEL),
) -> SpanReport:
    """Write usable feedback that no span holds yet as the next span.

    The same votes, reviews and earlier spans give the same bytes. Exports of one database take
    turns, also across processes.

    Args:
        database: holds votes, reviews and exported texts.
        spans_directory: a local or mounted folder.
        held_out: text identities of the test split, 64 hex digits each.
        labels: the vocabulary; empty when unknown.
        settings: the export rules.
        columns: names of the text and label columns.

    Raises:
        UserError: the folder cannot be written, or is not local.
        SQLAlchemyError: the database failed. The span may exist; the next export records it.
    """
    if "://" in os.fspath(spans_directory):
        raise UserError(
            f"feedback.spans must be a local or mounted folder, not {spans_directory}; "
            "set feedback.spans=FOLDER"
        )
    spans = Path(spans_directory)
    with database.begin() as session:
        _take_turn(session)
        span_files.remove_unfinished(spans)
        healed = _heal(session, spans)
        selection = read_selection(session, settings, held_out, labels)
        report = SpanReport(
            selection.counts(), selection.of(CONFLICT), selection.of(NEW_CLASS), healed
        )
        if not selection.examples:
            return report
        number = _next_number(session, spans)
        data = span_files.encode_rows(
            ((each.text, each.label or "") for each in selection.examples), columns
        )
        digest = hashlib.sha256(data).hexdigest()
        path = span_files.write_span(spans, number, data, _summary(selection, number, digest))
        identities = [example.text_identity for example in selection.examples]
        _record(session, number, digest, identities, report.counts, len(identities))
    return dataclasses.replace(
        report, number=number, path=path, digest=digest, examples=len(identities)
    )


def _take_turn(session: Session) -> None:
    """Wait for other exports; SQLite's transactions take turns by themselves, once begun."""
    session.connection()  # begin now, not with the first query: folders are read before it
    if is_postgresql(session):
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _EXPORT_LOCK})


def _heal(session: Session, spans: Path) -> tuple[int, ...]:
    """Record folders that the database does not know."""
    known = set(session.scalars(select(SpanRow.number)))
    missing = {
        number: folder
        for number, folder in span_files.span_folders(spans).items()
        if number not in known
    }
    for number, folder in missing.items():
        exported = set(session.scalars(select(SpanTextRow.text_identity)))
        rows = span_files.read_rows(folder)
        found = dict.fromkeys(text_identity(text).hex() for text, _ in rows)
        identities = [identity for identity in found if identity not in exported]
        counts = span_files.read_summary(folder).get("counts", {})
        _record(session, number, span_files.digest(folder), identities, counts, len(rows))
    return tuple(missing)


def _next_number(session: Session, spans: Path) -> int:
    """Return the next number; numbers are not reused, even if a folder was removed."""
    recorded = session.scalar(select(func.max(SpanRow.number))) or 0
    return max([recorded, *span_files.span_folders(spans)]) + 1


def _record(
    session: Session,
    number: int,
    digest: str,
    identities: Sequence[str],
    counts: dict[str, Any],
    examples: int,
) -> None:
    session.add(
        SpanRow(
            number=number, created=time.time(), digest=digest, examples=examples, summary=counts
        )
    )
    session.flush()
    if identities:
        rows = [{"text_identity": identity, "span": number} for identity in identities]
        session.execute(insert(SpanTextRow), rows)


def _summary(selection: Selection, number: int, digest: str) -> dict[str, Any]:
    """Return the summary without a timestamp, so that the same votes give the same bytes."""
    return {
        "span": number,
        "sha256": digest,
        "counts": selection.counts(),
        "conflicts": [_aside(candidate) for candidate in selection.of(CONFLICT)],
        "new_classes": [_aside(candidate) for candidate in selection.of(NEW_CLASS)],
    }


def _aside(candidate: Candidate) -> dict[str, Any]:
    votes = [{"key": key, "label": label} for key, label in candidate.votes]
    return {"text_identity": candidate.text_identity, "text": candidate.text, "votes": votes}
