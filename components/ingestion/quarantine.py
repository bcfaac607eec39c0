"""The quarantine file: every bad row, where it stands and why it is no example."""

import json

from components.ingestion.rows import BadRow

#: Folder and file within the Examples artifact.
QUARANTINE_FOLDER = "quarantine"
QUARANTINE_FILE = "rows.jsonl"


def quarantine_line(path: str, row: BadRow) -> str:
    r"""Return one line of the file: a JSON object and ``\n``.

    Its keys: ``file``, ``line`` (where the row starts), ``reason``, ``detail``, ``rows`` (how many
    rows it counts for) and ``row`` (the row's beginning, printable).
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
