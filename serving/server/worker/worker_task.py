"""Tasks of a worker. The front process imports this module, so it must not import TensorFlow."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class WorkerTask:
    """A version to load, and the options for loading it.

    Attributes:
        directory: folder of the SavedModel.
        intra_op_threads: threads for one op; 0 for one per core.
        inter_op_threads: concurrent ops; 0 for one per core, negative to run them in the thread
            that runs the signature.
        warm_up: whether to replay the model's warm-up requests.
        precision: one of ``settings.PRECISIONS``.
        own_export: whether the model is an export of this project, whose outputs are one
            computation.
        allow_unsafe_ops: whether the graph may read or write files or run Python.
        known_precisions: earlier measurements on this machine: ``Choice.run_as`` by the fingerprint
            of the graph.
    """

    directory: str
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    warm_up: bool = True
    precision: str = "auto"
    own_export: bool = False
    allow_unsafe_ops: bool = False
    known_precisions: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class WarmupRequest:
    """A call of a signature.

    Attributes:
        signature: key of the signature.
        inputs: arrays by alias.
        outputs: aliases of the outputs to compute; empty for all.
    """

    signature: str
    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...] = ()
