"""Reader for one folder per class: ``folder/label/*.txt``, one text per file.

Standard library only.
"""

import os
from collections.abc import Iterator

from components.ingestion import files
from components.ingestion.rows import BadRow, RawRow, Reason, excerpt

TEXT_SUFFIX = ".txt"


def class_files(class_folder: str) -> list[str]:
    """Return the paths of everything in a class folder except hidden files, sorted."""
    names = files.list_folder(class_folder)
    return [files.join(class_folder, name) for name in names if not name.startswith(".")]


def is_text_file(path: str) -> bool:
    """Return whether a path in a class folder is named as an example."""
    return path.endswith(TEXT_SUFFIX)


def unfit_file(path: str) -> tuple[Reason, str] | None:
    """Return why something in a class folder is quarantined unread, and details; None if it is not.

    The data folder is the parent of the class folder.
    """
    if not is_text_file(path) or files.is_local_folder(path):
        detail = f"a class folder must hold only {TEXT_SUFFIX} files, and no folders"
        return Reason.NOT_A_TEXT_FILE, detail
    if files.is_special(path):
        return Reason.NOT_A_REGULAR_FILE, "FIFOs, sockets and devices are not read"
    class_folder = os.path.dirname(path)
    # Most files are no links, and resolving each path takes several system calls.
    if os.path.islink(path) or os.path.islink(class_folder):
        data_folder = os.path.dirname(class_folder)
        if files.leaves_folder(path, data_folder):
            return Reason.LINK_LEAVES_FOLDER, f"leads to {os.path.realpath(path)}"
    return None


def read_text_file(
    path: str, label: str, *, slices: int, max_text_bytes: int
) -> Iterator[RawRow | BadRow]:
    """Read one text, the only row of its file. Anything other is a bad row, see ``unfit_file``.

    Args:
        path: the file.
        label: the name of its class folder.
        slices: number of configured slice columns. Folders have none, so each value is missing.
        max_text_bytes: longest legal text, in bytes; a longer file is not read to its end.

    Yields:
        One ``RawRow`` or ``BadRow``.

    Raises:
        OSError: the file cannot be read.
    """
    if unfit := unfit_file(path):
        reason, detail = unfit
        yield BadRow(1, reason, "", excerpt(detail))
        return
    with files.open_binary(path) as stream:
        data = stream.read(max_text_bytes + 4)
    if len(data) > max_text_bytes + 3:
        yield BadRow(1, Reason.TEXT_TOO_LONG, "", f"the limit is {max_text_bytes} bytes")
        return
    yield RawRow(1, data.removeprefix(b"\xef\xbb\xbf"), label, (None,) * slices)
