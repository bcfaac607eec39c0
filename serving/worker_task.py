"""What a worker is asked to load. Known to the front too, so it imports no TensorFlow."""

import dataclasses


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
        whole_answers: compute all outputs, whichever a request wants. Those of an export of this
            project are one computation, and a set of outputs that was not asked for before costs
            TensorFlow's graph optimiser 0.6 s.
    """

    directory: str
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    warm_up: bool = True
    precision: str = "auto"
    whole_answers: bool = False
