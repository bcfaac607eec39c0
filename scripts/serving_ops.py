"""Add a TensorFlow version to serving_ops.csv, with the ops that its stock model server can run.

Run it in an environment with that version of TensorFlow and tensorflow-text, without other packages
that register ops::

    python -m venv /tmp/tf && /tmp/tf/bin/pip install tensorflow-cpu==2.19.1 tensorflow-text==2.19.0
    /tmp/tf/bin/python scripts/serving_ops.py

The image's binary cannot be queried without Docker. Its BUILD file
(tensorflow_serving/model_servers/BUILD, SUPPORTED_TENSORFLOW_OPS and server_lib) links all of
TensorFlow (``//tensorflow/core:tensorflow``) and tensorflow-text's ``ops_lib``, which contains
every kernel of that package, both of the same minor version. The list therefore contains the ops
that have a CPU kernel after both wheels are imported, and those that the runtime handles without a
kernel. It excludes ops that call back into Python, which only the wheel registers, and TensorFlow
Decision Forests' ops, which newer servers also link but no encoder uses.
"""

import csv
import sys
from pathlib import Path

import tensorflow as tf
import tensorflow_text  # noqa: F401 (registers its ops)
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.framework import kernels

_ROOT = Path(__file__).resolve().parent.parent
LIST = _ROOT / "components" / "infra_validation" / "serving_ops.csv"
#: Kernels that exist only in the Python wheel (tensorflow/python/lib/core).
PYTHON_ONLY = frozenset({"EagerPyFunc", "PyFunc", "PyFuncStateless"})
#: Ops that are rewritten to others before kernels are looked up.
WITHOUT_KERNEL = frozenset({"Placeholder"})


def main() -> None:
    """Merge this environment's ops into the list."""
    version = ".".join(tf.__version__.split(".")[:2])
    versions: dict[str, set[str]] = {}
    if LIST.exists():
        with LIST.open(encoding="utf-8", newline="") as file:
            versions = {row["op"]: set(row["versions"].split()) for row in csv.DictReader(file)}
    for op in versions:
        versions[op].discard(version)
    ops = runnable_ops()
    for op in ops:
        versions.setdefault(op, set()).add(version)
    with LIST.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["op", "versions"])
        writer.writerows(
            [op, " ".join(sorted(versions[op]))] for op in sorted(versions) if versions[op]
        )
    print(f"{len(ops)} ops of TensorFlow {version} in {LIST}", file=sys.stderr)


def runnable_ops() -> set[str]:
    """Return the names of public ops that run on a CPU."""
    buffer = pywrap_tf_session.TF_GetAllOpList()
    registered = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(buffer))
    names = {op.name for op in registered.op if not op.name.startswith("_")}
    on_cpu = {
        kernel.op
        for kernel in kernels.get_all_registered_kernels().kernel
        if kernel.device_type in ("CPU", "DEFAULT")
    }
    return (names & (on_cpu | WITHOUT_KERNEL)) - PYTHON_ONLY


if __name__ == "__main__":
    main()
