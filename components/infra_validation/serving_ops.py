"""The ops that a stock model server can run and those that an export uses. Without TensorFlow.

A model server refuses to load a graph with a single unknown op. The embedded server uses
TensorFlow's Python wheel, which has more ops than the stock image, so the image's ops are read from
``serving_ops.csv``, which ``scripts/serving_ops.py`` generates and documents.
"""

import csv
import os
import re
from pathlib import Path

from tfx.dsl.io import fileio

from modules.contract.errors import ModelError

_LIST = Path(__file__).with_name("serving_ops.csv")


def allowed_ops(image: str) -> frozenset[str]:
    """Return the ops that the stock model server of an image can run.

    Args:
        image: image of TensorFlow Serving, with its tag.

    Raises:
        ModelError: the ops of its version are unknown.
    """
    with _LIST.open(encoding="utf-8", newline="") as file:
        versions = {row["op"]: row["versions"].split() for row in csv.DictReader(file)}
    known = sorted({version for listed in versions.values() for version in listed})
    match = re.search(r":(\d+\.\d+)\b", image)
    if not match or match[1] not in known:
        raise ModelError(
            f"the ops that {image} can run are unknown; set infra_validator.image to a tag of "
            f"version {', '.join(known)}, or infra_validator.server=docker to try the image itself"
        )
    return frozenset(op for op, listed in versions.items() if match[1] in listed)


def used_ops(export: str) -> set[str]:
    """Return the names of all ops in a SavedModel's graphs and their functions.

    Raises:
        ModelError: ``saved_model.pb`` does not exist or cannot be read.
    """
    from serving.protocol.protos import saved_model_pb2

    path = os.path.join(export, "saved_model.pb")
    try:
        with fileio.open(path, "rb") as file:
            model = saved_model_pb2.SavedModel.FromString(file.read())
    except Exception as error:  # raised by the file system or the proto library
        raise ModelError(f"{path} cannot be read as a SavedModel: {error}") from error
    ops: set[str] = set()
    for graph in (meta.graph_def for meta in model.meta_graphs):
        functions = {function.signature.name for function in graph.library.function}
        nodes = [node for f in graph.library.function for node in f.node_def] + list(graph.node)
        ops |= {node.op for node in nodes} - functions
    return ops


def foreign_ops(export: str, image: str) -> list[str]:
    """Return the ops that the export uses and the image's server lacks, sorted.

    Args:
        export: folder of the SavedModel.
        image: image of TensorFlow Serving, with its tag.

    Raises:
        ModelError: the image's ops are unknown, or the export cannot be read.
    """
    return sorted(used_ops(export) - allowed_ops(image))
