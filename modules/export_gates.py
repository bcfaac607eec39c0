"""Gates that an export passes before it may serve, each in a fresh process of its own.

* ``ops``: every op, functions included, is one that the stock model server's image can run.
* ``float32``: the v1 Session loader, TensorFlow Serving's own, loads it, and the answers equal the
  trainer's within 1e-4.
* ``bfloat16``: so loaded, the bfloat16 signatures differ from the trainer's answers by at most 1e-3
  in the median, and change a label only where the two best classes were within 0.02.
* ``alone``: so loaded, a text gets alone the answer that it gets among others.

By hand::

    python -m modules.export_gates DIRECTORY --image tensorflow/serving:2.19.1
"""

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

GATES = ("ops", "float32", "bfloat16", "alone")
#: Seconds that one gate may take: most of it imports TensorFlow and loads the model.
DEADLINE_SECONDS = 600.0
#: Gates at a time; each holds the model in memory.
_AT_A_TIME = 2
_ROOT = Path(__file__).resolve().parent.parent
_KEPT_OUTPUT = 1500


def check_export(
    directory: str,
    image: str,
    gates: Sequence[str] = GATES,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> list[str]:
    """Put an export through the gates.

    Args:
        directory: a SavedModel that ``modules.signatures.export`` wrote, on this machine's disk.
        image: the model server's image with its tag, "tensorflow/serving:2.19.1".
        gates: which.
        deadline_seconds: a gate that takes longer has failed.

    Returns:
        What is wrong, each with the gate's name before it; nothing when all is well.
    """
    with concurrent.futures.ThreadPoolExecutor(_AT_A_TIME) as pool:
        runs = [pool.submit(_run, gate, directory, image, deadline_seconds) for gate in gates]
        results = [run.result() for run in runs]
    return [
        f"{gate}: {failure}"
        for gate, failures in zip(gates, results, strict=True)
        for failure in failures
    ]


def _run(gate: str, directory: str, image: str, deadline_seconds: float) -> list[str]:
    """Failures of one gate. A process that breaks down has failed too."""
    command = [sys.executable, "-m", "modules.export_gate", gate, os.path.abspath(directory), image]
    # Bounds TensorFlow's messages, and keeps the gate off a GPU that the pipeline may hold.
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=_ROOT,
            env=os.environ | quiet,
            timeout=deadline_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [f"took longer than {deadline_seconds:g} s"]
    lines = result.stdout.splitlines()
    if result.returncode != 0 or not lines:
        said = " | ".join(result.stderr.strip().splitlines()[-4:])[-_KEPT_OUTPUT:]
        return [f"broke down with status {result.returncode}: {said or 'it said nothing'}"]
    failures: list[str] = json.loads(lines[-1])
    return failures


def main() -> int:
    """Print what is wrong with an export, a line each; status 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--image", required=True)
    parser.add_argument("--json", action="store_true", help="print a JSON list alone")
    arguments = parser.parse_args()
    failures = check_export(arguments.directory, arguments.image)
    if arguments.json:
        print(json.dumps(failures))
        return bool(failures)
    for failure in failures:
        print(failure)
    print(f"{len(failures)} failures" if failures else "all gates passed")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
