"""Words of texts, hashed: shares that can be compared without keeping a vocabulary."""

import re
import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

#: Buckets that words are hashed to. Rare words share buckets, which only dampens differences.
BUCKETS: Final = 1024
#: A run of letters and digits, or one other visible character.
_WORD: Final = re.compile(r"[^\W_]+|[^\w\s]|_")


def hashed_shares(texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """How a text's words spread over the buckets.

    Every text counts alike, however long it is: its row sums to 1, or to 0 without any word.
    CRC-32 of the case-folded word picks the bucket, so it is the same in every process.

    Returns:
        float32[texts, BUCKETS].
    """
    shares = np.zeros((len(texts), BUCKETS), np.float32)
    for row, text in zip(shares, texts, strict=True):
        found = _WORD.findall(text.casefold())
        if found:
            buckets = [zlib.crc32(word.encode("utf-8", "replace")) % BUCKETS for word in found]
            np.add.at(row, buckets, 1 / len(found))
    return shares
