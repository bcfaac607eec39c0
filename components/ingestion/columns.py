"""Lookup of the configured columns in a file. Standard library only."""

import difflib
from collections.abc import Sequence

from components.ingestion.rows import Columns, excerpt
from modules.contract.errors import DataError

_SHOWN_COLUMNS = 20
#: A column name this long is more likely a row of data under which the header is missing.
_LONG_NAME = 80


def find_columns(
    names: Sequence[str], columns: Columns, *, source: str
) -> tuple[int, int, tuple[int | None, ...]]:
    """Return the positions of the text, label and slice columns.

    A slice column that is absent and not required has the position None.

    Args:
        names: the columns that the file has.
        columns: the columns that the configuration names.
        source: the file's name, for errors.

    Raises:
        DataError: a column is absent or occurs twice. The message lists the columns of the file
            and suggests the nearest name.
    """
    text = _find(names, columns.text, "data.text_column", source)
    label = _find(names, columns.label, "data.label_column", source)
    slices = tuple(
        None
        if not columns.slices_required and name not in names
        else _find(names, name, "data.slice_columns", source)
        for name in columns.slices
    )
    return text, label, slices


def _find(names: Sequence[str], wanted: str, key: str, source: str) -> int:
    count = list(names).count(wanted)
    if count == 1:
        return list(names).index(wanted)
    if count > 1:
        raise DataError(f"{source} has {count} columns named {wanted!r}; rename all but one")
    raise DataError(missing_column(names, wanted, key, source))


def missing_column(names: Sequence[str], wanted: str, key: str, source: str) -> str:
    """Return the error message for a column that does not exist.

    Args:
        names: the columns that the file has.
        wanted: the column that the configuration names.
        key: the configuration key that names it.
        source: the file's name.
    """
    shown = ", ".join(excerpt(name)[:_LONG_NAME] for name in names[:_SHOWN_COLUMNS])
    if len(names) > _SHOWN_COLUMNS:
        shown += f", … ({len(names)} in all)"
    message = f"{source} has no column {wanted!r}; its columns: {shown}"
    folded = {name.casefold(): name for name in names}
    nearest = difflib.get_close_matches(wanted.casefold(), list(folded), n=1, cutoff=0.6)
    if nearest and folded[nearest[0]].isprintable():
        return f"{message}. Did you mean {key}={folded[nearest[0]]}?"
    if any(len(name) > _LONG_NAME for name in names):
        return f"{message}. Is the header line missing? It must come first, e.g. text,label"
    return f"{message}. Set {key} to one of them"
