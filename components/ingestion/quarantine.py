"""The quarantine file: every bad row, with its position and why it is not an example."""

import json

from components.ingestion.rows import BadRow

#: Folder and file within the Examples artifact.
QUARANTINE_FOLDER = "quarantine"
QUARANTINE_FILE = "rows.jsonl"


def quarantine_line(path: str, row: BadRow) -> str:
    r"""Return one line of the file: a JSON object and ``\n``.

    The object's keys are ``file``, ``line`` (where the row starts), ``reason``, ``detail``,
    ``rows`` (how many rows it counts as) and ``row`` (the row's printable beginning).
    """
    record = {
        "file": path,
        "line": row.line,
        "reason": row.reason.value,
        "detail": row.detail,
        "rows": row.rows,
        "row": row.excerpt,
    }
    return json.dumps(record, ensure_ascii=False) + "\n"
