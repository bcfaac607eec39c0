"""What a worker is asked to load. Known to the front too, so it imports no TensorFlow."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class WorkerTask:
    """A version, and how to load it.

    Attributes:
        directory: of the SavedModel.
        intra_op_threads: of one op; 0 is one for each core.
        inter_op_threads: concurrent ops; 0 is one for each core, less than 0 does them in the
            thread that runs the signature.
        warm_up: replay the model's warm-up requests.
        precision: of ``settings.PRECISIONS``.
        own_export: the model is an export of this project: all its outputs are one computation.
        known_precisions: what was measured before on this machine: ``Choice.run_as`` by the
            fingerprint of the graph.
    """

    directory: str
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    warm_up: bool = True
    precision: str = "auto"
    own_export: bool = False
    known_precisions: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)


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
