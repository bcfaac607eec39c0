"""Layout of exported feedback: ``<spans>/span-<number>/feedback.csv``. Standard library only."""

import re

#: The file within a span's folder.
DATA_FILE = "feedback.csv"

_FOLDER = re.compile(r"span-([1-9][0-9]*)")


def span_folder(number: int) -> str:
    """Return the name of a span's folder."""
    return f"span-{number}"


def span_number(folder: str) -> int | None:
    """Return the number of the span that a folder of this name holds; None if it holds none."""
    match = _FOLDER.fullmatch(folder)
    return int(match[1]) if match else None
