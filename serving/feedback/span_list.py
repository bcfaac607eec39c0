"""Spans in the database and in the folder, and whether the two agree."""

import dataclasses
from pathlib import Path
from typing import Literal

from sqlalchemy import select

from serving.feedback import span_files
from serving.records.database import Database
from serving.records.tables import SpanRow


@dataclasses.dataclass(frozen=True)
class SpanState:
    """One span.

    Attributes:
        number: number in ``span-<number>``.
        examples: number of rows; None if the database does not know the span.
        created: seconds since 1970; None likewise.
        digest: recorded SHA-256 as hex digits; "" likewise.
        state: "sound"; "changed" if the rows differ from the recorded ones; "missing" if the
            folder does not exist; "unrecorded" after a crash, until the next export.
    """

    number: int
    examples: int | None
    created: float | None
    digest: str
    state: Literal["sound", "changed", "missing", "unrecorded"]


def list_spans(database: Database, spans_directory: str) -> list[SpanState]:
    """Return all spans by number, after reading every data file to compare its digest."""
    folders = span_files.span_folders(Path(spans_directory))
    with database.read() as session:
        recorded = {span.number: span for span in session.scalars(select(SpanRow))}
    return [
        _state(number, recorded.get(number), folders.get(number))
        for number in sorted({*recorded, *folders})
    ]


def _state(number: int, span: SpanRow | None, folder: Path | None) -> SpanState:
    if span is None:
        return SpanState(number, None, None, "", "unrecorded")
    digest = span_files.digest(folder) if folder else ""
    state: Literal["sound", "changed", "missing"] = "sound"
    if digest != span.digest:
        state = "changed" if digest else "missing"
    return SpanState(number, span.examples, span.created, span.digest, state)
