"""The files to read, and the fingerprint of their content. Standard library only."""

import concurrent.futures
import dataclasses
import difflib
import glob
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence

from components.ingestion import files, folder_reader
from components.ingestion.csv_reader import read_csv
from components.ingestion.files import refuse_binary
from components.ingestion.jsonl_reader import read_jsonl
from components.ingestion.parquet_reader import read_parquet
from components.ingestion.rows import BadRow, Columns, RawRow
from modules.contract.errors import DataError

AUTO = "auto"
CSV = "csv"
JSONL = "jsonl"
PARQUET = "parquet"
FOLDERS = "folders"
FORMATS = (AUTO, CSV, JSONL, PARQUET, FOLDERS)

_SUFFIXES = {
    ".csv": CSV,
    ".tsv": CSV,
    ".jsonl": JSONL,
    ".ndjson": JSONL,
    ".parquet": PARQUET,
    ".pq": PARQUET,
}
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """One file, or one class folder of texts.

    Attributes:
        path: path or URI of the file or folder.
        format: one of ``FORMATS`` except ``AUTO``.
        span: number of the feedback span; 0: base data.
    """

    path: str
    format: str
    span: int = 0

    def paths(self) -> list[str]:
        """Return the files of this source, in the order in which they are read."""
        return folder_reader.class_files(self.path) if self.format == FOLDERS else [self.path]

    def read(self, columns: Columns, max_text_bytes: int) -> Iterator[tuple[str, RawRow | BadRow]]:
        """Yield each row with the path of its file.

        Raises:
            DataError: a file cannot be read to its end, is of another format, or lacks a column.
        """
        for path in self.paths():
            try:
                for row in self._rows(path, columns, max_text_bytes):
                    yield path, row
            # A truncated or damaged gzip stream raises any of the three.
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(f"{path} cannot be read to its end: {error}") from None

    def _rows(self, path: str, columns: Columns, max_text_bytes: int) -> Iterator[RawRow | BadRow]:
        if self.format == FOLDERS:
            label = files.base_name(self.path)
            yield from folder_reader.read_text_file(
                path, label, slices=len(columns.slices), max_text_bytes=max_text_bytes
            )
            return
        if self.span:
            columns = dataclasses.replace(columns, slices_required=False)
        with files.open_binary(path) as stream:
            if self.format in (CSV, JSONL):
                refuse_binary(stream, path)
            if self.format == CSV:
                yield from read_csv(stream, columns, source=path, max_text_bytes=max_text_bytes)
            elif self.format == JSONL:
                yield from read_jsonl(stream, columns, source=path, max_text_bytes=max_text_bytes)
            else:
                yield from read_parquet(stream, columns, source=path)


def find_sources(paths: Sequence[str], data_format: str) -> list[Source]:
    """Return the sources to read, each once, in a fixed order.

    Args:
        paths: files, folders and glob patterns. A folder must hold class folders, or data files of
            one format.
        data_format: one of ``FORMATS``.

    Raises:
        DataError: a path does not exist or holds no data, a pattern matches nothing, or a format
            is unknown.
    """
    found: dict[str, Source] = {}
    for path in paths:
        try:
            expanded = list(_expand(os.path.expanduser(path), data_format))
        except ValueError as error:  # raised by Beam for a URI of an unknown scheme
            raise DataError(f"data.path {path} cannot be read: {error}") from None
        for source in expanded:
            check_name(source.path)
            found.setdefault(files.one_name(source.path), source)
    if not found:
        raise DataError("no data: set data.path to a CSV, JSONL or Parquet file, or to a folder")
    return list(found.values())


def check_name(path: str) -> None:
    """Refuse a path that cannot be recorded in metadata.

    Raises:
        DataError: the path is not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise DataError(f"the name of {shown} is not UTF-8; rename it") from None


def _expand(path: str, data_format: str) -> Iterator[Source]:
    matches = [path] if files.exists(path) else []
    if not matches and glob.has_magic(path):
        matches = files.match(path)
        if not matches:
            raise DataError(f"no file matches {path}; set data.path to files that exist")
    if not matches:
        raise DataError(_not_found(path))
    for match in matches:
        if files.is_folder(match):
            yield from _expand_folder(match, data_format)
        elif data_format == FOLDERS:
            raise DataError(
                f"{match} is a file, but data.format is folders: set data.path to the folder that "
                "holds one folder of .txt files per label, or set data.format=auto"
            )
        else:
            yield Source(match, _format_of(match, data_format))


def _expand_folder(folder: str, data_format: str) -> Iterator[Source]:
    names = [name for name in files.list_folder(folder) if not name.startswith(".")]
    if data_format in (AUTO, FOLDERS):
        classes = [files.join(folder, name) for name in names]
        contents = {
            path: folder_reader.class_files(path) for path in classes if files.is_folder(path)
        }
        if any(folder_reader.is_text_file(path) for inside in contents.values() for path in inside):
            yield from (Source(path, FOLDERS) for path, inside in contents.items() if inside)
            return
    if data_format != FOLDERS:
        sources = [
            Source(files.join(folder, name), kind)
            for name in names
            if (kind := _suffix_format(name)) and data_format in (AUTO, kind)
        ]
        formats = sorted({source.format for source in sources})
        if len(formats) > 1:
            raise DataError(
                f"{folder} holds files of several formats ({', '.join(formats)}); set data.format "
                "to the one to read"
            )
        if sources:
            yield from sources
            return
    raise DataError(
        f"{folder} holds no data: expected one folder of .txt files per label, or .csv, .tsv, "
        ".jsonl or .parquet files"
    )


def _suffix_format(name: str) -> str | None:
    stem = name.lower().removesuffix(".gz")
    return _SUFFIXES.get(os.path.splitext(stem)[1])


def _format_of(path: str, data_format: str) -> str:
    if data_format != AUTO:
        return data_format
    kind = _suffix_format(files.base_name(path))
    if kind is None:
        raise DataError(
            f"cannot determine the format of {path} from its name (known: {', '.join(_SUFFIXES)}, "
            "each also with .gz); rename the file, or set data.format to csv, jsonl or parquet"
        )
    return kind


def _not_found(path: str) -> str:
    message = f"no such file or folder: {path}"
    if not files.is_remote(path) and os.path.islink(path):
        return f"{path} is a link to {os.readlink(path)}, which does not exist"
    folder = os.path.dirname(path) or "."
    if not files.is_remote(path) and os.path.isdir(folder):
        near = difflib.get_close_matches(os.path.basename(path), os.listdir(folder), n=1)
        if near:
            return f"{message}. Did you mean {os.path.join(os.path.dirname(path), near[0])}?"
    return f"{message}; give the path of an existing file or folder (data.path)"


def content_digests(sources: Sequence[Source]) -> list[str]:
    """Return a digest (64 hex digits) of each source's names, format, contents and span.

    Times and permissions are not included: a file that was touched or restored is the same data.

    Raises:
        DataError: a file vanished or cannot be read.
    """
    paths = [(number, path) for number, each in enumerate(sources) for path in each.paths()]
    # hashlib releases the GIL, so several files are hashed in parallel.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        kinds = (sources[number].format for number, _ in paths)
        digests = list(pool.map(_content_digest, kinds, (path for _, path in paths)))
    wholes = [hashlib.sha256(repr((each.format, each.span)).encode()) for each in sources]
    for (number, path), digest in zip(paths, digests, strict=True):
        in_class = sources[number].format == FOLDERS
        folder = files.base_name(os.path.dirname(path)) if in_class else ""
        wholes[number].update(repr((folder, files.base_name(path), digest)).encode())
    return [whole.hexdigest() for whole in wholes]


def fingerprint(sources: Sequence[Source]) -> str:
    """Return one digest (64 hex digits) over the content of all sources.

    Raises:
        DataError: a file vanished or cannot be read.
    """
    return combined_fingerprint(content_digests(sources))


def combined_fingerprint(digests: Sequence[str]) -> str:
    """Return the fingerprint of sources with these ``content_digests``."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _content_digest(kind: str, path: str) -> str:
    if not _is_read(kind, path):
        return ""
    digest = hashlib.sha256()
    try:
        with files.open_raw(path) as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()


def total_bytes(sources: Sequence[Source]) -> int:
    """Return the stored size of all files in bytes, before decompression."""
    return sum(
        files.size(path)
        for source in sources
        for path in source.paths()
        if _is_read(source.format, path)
    )


def _is_read(kind: str, path: str) -> bool:
    return kind != FOLDERS or folder_reader.is_text_file(path)
