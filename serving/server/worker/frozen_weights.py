"""Has TensorFlow pack the weights of matrix products once, instead of in each run.

oneDNN computes on weights in an order of its own. TensorFlow keeps them so where they are constants
of the graph, or where an environment variable says that weights never change; it is read once in a
process, before the first product (tensorflow/core/util/onednn_env_vars.cc).
"""

from collections.abc import Iterable, MutableMapping

from serving.server.worker.precision import SUFFIX

VARIABLE = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"


def freeze_weights(signatures: Iterable[str], environ: MutableMapping[str, str]) -> None:
    """Say so where the second factor of every product is a weight.

    It is in our packed graph, which is known by its signatures in bfloat16. What another graph
    multiplies nobody knows, and the kernels would take any second factor for a weight.

    Args:
        signatures: keys of the model; none has run yet.
        environ: of this process; a value that stands there is kept.
    """
    if any(key.endswith(SUFFIX) for key in signatures):
        environ.setdefault(VARIABLE, "1")
