"""Files that are no text, told by their first bytes before they make garbled rows."""

import io

from modules.contract.errors import DataError

_SIGNATURES = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet; unpack it, or save the sheet as CSV",
    b"PAR1": "a Parquet file; name it .parquet or set data.format=parquet",
    b"BZh": "compressed by bzip2; unpack it first: bunzip2",
    b"\xfd7zXZ\x00": "compressed by xz; unpack it first: unxz",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard; unpack it first: unzstd",
    b"\x1f\x8b": "compressed by gzip more than three times; unpack it first: gunzip",
    b"SQLite format 3\x00": "an SQLite database; export the table as CSV",
    b"%PDF-": "a PDF document; data must be CSV, JSON Lines or Parquet",
}


def refuse_binary(stream: io.BufferedReader, source: str) -> None:
    """Refuse what cannot be CSV or JSON Lines.

    Args:
        stream: the file, decompressed, at its start, where it stays.
        source: the file's name, for errors.

    Raises:
        DataError: says what the file is and what to do.
    """
    beginning = stream.peek(16)[:16]
    for signature, meaning in _SIGNATURES.items():
        if beginning.startswith(signature):
            raise DataError(f"{source} is {meaning}")
