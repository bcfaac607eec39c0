"""Cuts a stream of bytes into lines, of which none may fill the memory."""

from collections.abc import Iterator


class LineSplitter:
    r"""Lines end with ``\n``; ``\r`` before it is white space to JSON.

    Args:
        max_bytes: of one line.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._skipping = False

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """The lines that end in a chunk; None stands for one that is too long."""
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._add(part)
            yield self._take()
        self._add(rest)

    def finish(self) -> Iterator[bytes | None]:
        """The last line, when it does not end."""
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
