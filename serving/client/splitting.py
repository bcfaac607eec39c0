"""Splitting of a list of texts into requests of texts of similar length.

A batch is padded to its longest text. A request that mixes lengths therefore costs as much as one
in which all texts are long.
"""

import dataclasses
from collections.abc import Iterator, Sequence


@dataclasses.dataclass(frozen=True)
class Part:
    """The texts of one request.

    Attributes:
        positions: positions of the texts in the whole list.
        texts: texts in UTF-8, shortest first.
    """

    positions: tuple[int, ...]
    texts: tuple[bytes, ...]


def split_texts(texts: Sequence[bytes], *, max_texts: int, max_bytes: int) -> Iterator[Part]:
    """Yield requests that together contain every text once.

    Args:
        texts: texts in UTF-8.
        max_texts: maximum number of texts in a request; at least 1.
        max_bytes: maximum size of the texts in a request; a larger text is sent alone.
    """
    order = sorted(range(len(texts)), key=lambda position: len(texts[position]))
    positions: list[int] = []
    size = 0
    for position in order:
        length = len(texts[position])
        if positions and (len(positions) == max_texts or size + length > max_bytes):
            yield _part(texts, positions)
            positions, size = [], 0
        positions.append(position)
        size += length
    if positions:
        yield _part(texts, positions)


def _part(texts: Sequence[bytes], positions: Sequence[int]) -> Part:
    return Part(tuple(positions), tuple(texts[position] for position in positions))
