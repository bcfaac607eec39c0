"""Cuts a list of texts into requests of texts of like length.

A batch is padded to its longest text, so a request of short texts costs little and one that mixes
lengths costs as much as if all were long.
"""

import dataclasses
from collections.abc import Iterator, Sequence


@dataclasses.dataclass(frozen=True)
class Part:
    """One request.

    Attributes:
        positions: where its texts stand in the whole list.
        texts: UTF-8, rising by length.
    """

    positions: tuple[int, ...]
    texts: tuple[bytes, ...]


def split_texts(texts: Sequence[bytes], *, max_texts: int, max_bytes: int) -> Iterator[Part]:
    """Yield requests that together hold every text once.

    Args:
        texts: UTF-8.
        max_texts: in a request; at least 1.
        max_bytes: of texts in a request; a longer text goes alone.
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
