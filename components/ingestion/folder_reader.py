"""Folder-per-class: ``folder/label/*.txt``, one text a file. Standard library only."""

from collections.abc import Iterator

from components.ingestion import files
from components.ingestion.rows import BadRow, RawRow, Reason

TEXT_SUFFIX = ".txt"


def class_files(class_folder: str) -> list[str]:
    """Return the paths of all that is in a class folder, sorted; hidden files are left out."""
    names = files.list_folder(class_folder)
    return [files.join(class_folder, name) for name in names if not name.startswith(".")]


def is_text_file(path: str) -> bool:
    """Whether a path in a class folder is an example; all others go to quarantine."""
    return path.endswith(TEXT_SUFFIX)


def read_text_file(
    path: str, label: str, *, slices: int, max_text_bytes: int
) -> Iterator[RawRow | BadRow]:
    """Read one text, the only row of its file. Anything but a text file is a bad row.

    Args:
        path: the file.
        label: the name of its class folder.
        slices: how many slice columns are configured. Folders have none, so each is missing.
        max_text_bytes: longest legal text; nothing beyond it is read.
    """
    if not is_text_file(path):
        detail = f"a class folder holds {TEXT_SUFFIX} files, and nothing in folders of its own"
        yield BadRow(1, Reason.NOT_A_TEXT_FILE, "", detail)
        return
    with files.open_binary(path) as stream:
        data = stream.read(max_text_bytes + 4)
    if len(data) > max_text_bytes + 3:
        yield BadRow(1, Reason.TEXT_TOO_LONG, "", f"the limit is {max_text_bytes} bytes")
        return
    yield RawRow(1, data.removeprefix(b"\xef\xbb\xbf"), label, (None,) * slices)
