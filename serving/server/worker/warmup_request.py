"""A recorded request of a model, as the worker runs it."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class WarmupRequest:
    """One call of a signature.

    Attributes:
        signature: its key.
        inputs: arrays by alias.
        outputs: aliases wanted; empty wants all.
    """

    signature: str
    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...] = ()
