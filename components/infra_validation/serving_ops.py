"""Which ops a stock model server can run, and which an export uses. No TensorFlow is imported.

A model server refuses to load a graph with one op that it does not know. The embedded server has
TensorFlow's Python wheel, which knows more ops than the stock image, so the ops are looked up in
``serving_ops.csv``; ``scripts/serving_ops.py`` made it and says from what.
"""

import csv
import os
import re
from pathlib import Path

from tfx.dsl.io import fileio

from modules.contract.errors import ModelError

_LIST = Path(__file__).with_name("serving_ops.csv")


def allowed_ops(image: str) -> frozenset[str]:
    """Ops that the stock model server of an image can run.

    Args:
        image: of TensorFlow Serving, with its tag.

    Raises:
        ModelError: no list was made for its version.
    """
    with _LIST.open(encoding="utf-8", newline="") as file:
        versions = {row["op"]: row["versions"].split() for row in csv.DictReader(file)}
    known = sorted({version for listed in versions.values() for version in listed})
    match = re.search(r":(\d+\.\d+)\b", image)
    if not match or match[1] not in known:
        raise ModelError(
            f"it is not known which ops {image} can run; legal for infra_validator.image: a tag of "
            f"version {', '.join(known)}; infra_validator.server=docker asks the image itself"
        )
    return frozenset(op for op, listed in versions.items() if match[1] in listed)


def used_ops(export: str) -> set[str]:
    """Names of all ops of a SavedModel's graphs, their functions included.

    Raises:
        ModelError: there is no readable ``saved_model.pb``.
    """
    from serving.protocol.protos import saved_model_pb2

    path = os.path.join(export, "saved_model.pb")
    try:
        with fileio.open(path, "rb") as file:
            model = saved_model_pb2.SavedModel.FromString(file.read())
    except Exception as error:  # of the file system, or of the proto library
        raise ModelError(f"{path} cannot be read as a SavedModel: {error}") from error
    ops: set[str] = set()
    for graph in (meta.graph_def for meta in model.meta_graphs):
        functions = {function.signature.name for function in graph.library.function}
        nodes = [node for f in graph.library.function for node in f.node_def] + list(graph.node)
        ops |= {node.op for node in nodes} - functions
    return ops


def foreign_ops(export: str, image: str) -> list[str]:
    """What the export uses and the image's server lacks, sorted.

    Raises:
        ModelError: the image's ops are not known, or the export cannot be read.
    """
    return sorted(used_ops(export) - allowed_ops(image))
