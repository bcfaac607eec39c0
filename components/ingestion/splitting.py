"""Assignment of examples to splits by their text only. Standard library only."""

import dataclasses
import itertools
from collections.abc import Mapping

from modules.contract import features
from modules.contract.errors import UserError


@dataclasses.dataclass(frozen=True)
class SplitWeights:
    """Relative sizes of the splits, e.g. 8 : 1 : 1.

    Attributes:
        weights: one positive integer for each of ``features.SPLITS``, in that order.
    """

    weights: tuple[int, ...]

    @classmethod
    def from_mapping(cls, split: Mapping[str, int]) -> "SplitWeights":
        """Return the weights of a mapping such as ``{"train": 8, "eval": 1, "test": 1}``.

        Raises:
            UserError: a split is missing or unknown, or a weight is not a positive integer.
        """
        sound = set(split) == set(features.SPLITS) and all(
            isinstance(weight, int) and weight > 0 for weight in split.values()
        )
        if not sound:
            raise UserError(
                f"data.split needs a positive integer for each of {', '.join(features.SPLITS)}, "
                f"e.g. train=8, eval=1, test=1; got {dict(split)}"
            )
        return cls(tuple(split[name] for name in features.SPLITS))

    def split_of(self, identity: bytes) -> str:
        """Return the split of a text.

        Args:
            identity: ``modules.contract.text_identity.text_identity`` of the text, 32 bytes.
                Nothing else is used, so equal texts share a split in every run, row order and on
                every platform.
        """
        # The bias of 64 bits modulo a small sum of weights is below 1e-15.
        bucket = int.from_bytes(identity[:8], "big") % sum(self.weights)
        for name, end in zip(features.SPLITS, itertools.accumulate(self.weights), strict=True):
            if bucket < end:
                return name
        raise AssertionError("the bucket is always below the sum of the weights")


def shard_of(identity: bytes, shards: int) -> int:
    """Return the number of a text's output file, from bits of its identity not used for the split.

    Args:
        identity: ``modules.contract.text_identity.text_identity`` of the text, 32 bytes.
        shards: number of output files of each split.
    """
    return int.from_bytes(identity[8:16], "big") % shards
