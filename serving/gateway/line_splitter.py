"""Splits a stream of bytes into lines in bounded memory."""

from collections.abc import Iterator


class LineSplitter:
    r"""Splits at ``\n``; a ``\r`` before it is white space to JSON.

    Args:
        max_bytes: length of the longest line.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._skipping = False

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """Yield the lines that end in a chunk; None for one that is too long."""
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._add(part)
            yield self._take()
        self._add(rest)

    def finish(self) -> Iterator[bytes | None]:
        """Yield the last line if it has no line end."""
        if self._rest or self._skipping:
            yield self._take()

    def _add(self, part: bytes) -> None:
        if self._skipping:
            return
        if len(self._rest) + len(part) > self._max_bytes:
            self._rest.clear()
            self._skipping = True
        else:
            self._rest += part

    def _take(self) -> bytes | None:
        line = None if self._skipping else bytes(self._rest)
        self._rest.clear()
        self._skipping = False
        return line
