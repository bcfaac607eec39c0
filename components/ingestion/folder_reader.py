"""Reader for one folder per class: ``folder/label/*.txt``, one text per file.

Standard library only.
"""

from collections.abc import Iterator

from components.ingestion import files
from components.ingestion.rows import BadRow, RawRow, Reason

TEXT_SUFFIX = ".txt"


def class_files(class_folder: str) -> list[str]:
    """Return the paths of everything in a class folder except hidden files, sorted."""
    names = files.list_folder(class_folder)
    return [files.join(class_folder, name) for name in names if not name.startswith(".")]


def is_text_file(path: str) -> bool:
    """Return whether a path in a class folder is an example; all others are quarantined."""
    return path.endswith(TEXT_SUFFIX)


def read_text_file(
    path: str, label: str, *, slices: int, max_text_bytes: int
) -> Iterator[RawRow | BadRow]:
    """Read one text, the only row of its file. Anything other than a text file is a bad row.

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
    if not is_text_file(path):
        detail = f"a class folder must hold only {TEXT_SUFFIX} files, and no folders"
        yield BadRow(1, Reason.NOT_A_TEXT_FILE, "", detail)
        return
    with files.open_binary(path) as stream:
        data = stream.read(max_text_bytes + 4)
    if len(data) > max_text_bytes + 3:
        yield BadRow(1, Reason.TEXT_TOO_LONG, "", f"the limit is {max_text_bytes} bytes")
        return
    yield RawRow(1, data.removeprefix(b"\xef\xbb\xbf"), label, (None,) * slices)
