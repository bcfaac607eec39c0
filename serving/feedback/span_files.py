"""Span folders: written under another name, synced, renamed; never changed afterwards.

::

    <spans>/span-3/feedback.csv    text and label, RFC 4180, UTF-8, by text identity
    <spans>/span-3/summary.json    counts, the file's SHA-256, and texts that were set aside
"""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from modules.contract.atomic_file import sync_folder, write_bytes, write_text
from modules.contract.errors import UserError
from modules.contract.feedback_spans import DATA_FILE, span_folder, span_number
from modules.contract.private_files import PRIVATE_READ_ONLY, make_private_folder

SUMMARY_FILE: Final = "summary.json"

_UNFINISHED = ".unfinished-span-"
#: The csv module refuses longer fields by default.
_FIELD_LIMIT = 2**31 - 1


def span_folders(folder: Path) -> dict[int, Path]:
    """Return the spans in a folder by number, ascending."""
    if not folder.is_dir():
        return {}
    found = ((span_number(entry.name), entry) for entry in folder.iterdir())
    return dict(sorted((number, entry) for number, entry in found if number))


def encode_rows(rows: Iterable[tuple[str, str]], columns: tuple[str, str]) -> bytes:
    """Encode texts and labels as RFC 4180: CRLF after each record, quotes where needed."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return file.getvalue().encode("utf-8")


def read_rows(folder: Path) -> list[tuple[str, str]]:
    """Return the text and label of each row of a span.

    Raises:
        UserError: the file is missing, or was not written by ``write_span``.
    """
    path = folder / DATA_FILE
    limit = csv.field_size_limit(_FIELD_LIMIT)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        return [(text, label) for text, label in rows[1:]]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path} was not written by `bert feedback export`: {error}; move its folder away"
        ) from error
    finally:
        csv.field_size_limit(limit)


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the summary; empty if missing or damaged, because training needs only the rows."""
    try:
        found = json.loads((folder / SUMMARY_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def digest(folder: Path) -> str:
    """Return the SHA-256 of the span's rows as hex digits; "" if they cannot be read."""
    try:
        with (folder / DATA_FILE).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def write_span(spans: Path, number: int, rows: bytes, summary: dict[str, Any]) -> Path:
    """Write ``span-<number>`` atomically and durably, and return its folder.

    Raises:
        UserError: the folder cannot be written.
    """
    target = spans / span_folder(number)
    try:
        make_private_folder(spans)
        unfinished = spans / f"{_UNFINISHED}{os.urandom(8).hex()}"
        unfinished.mkdir(0o700)
        try:
            text = json.dumps(summary, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
            write_bytes(unfinished / DATA_FILE, rows, PRIVATE_READ_ONLY)
            write_text(unfinished / SUMMARY_FILE, text, PRIVATE_READ_ONLY)
            unfinished.rename(target)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        sync_folder(spans)
    except OSError as error:
        raise UserError(
            f"the span {target} cannot be written: {error.strerror}; "
            "set feedback.spans to a writable folder"
        ) from error
    return target


def remove_unfinished(spans: Path) -> None:
    """Remove folders that killed exports left behind. The caller holds the export lock."""
    for entry in spans.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(entry, ignore_errors=True)
