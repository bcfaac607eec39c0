"""Tells whether two versions of a model compute the same, with weights of their own."""

import hashlib
import json
from collections import Counter
from typing import Any


def graph_fingerprint(meta_graph: Any) -> str:
    """Digest of what a graph computes, but for its weights and constants.

    Names do not enter: TensorFlow numbers functions by what else the process that exported them
    has traced.

    Args:
        meta_graph: ``MetaGraphDef`` of a SavedModel.

    Returns:
        64 hex digits, of its signatures, and of how many operations of each kind, type and shape
        of variables it has.
    """
    graph = meta_graph.graph_def
    nodes = list(graph.node)
    for function in graph.library.function:
        nodes.extend(function.node_def)
    operations = Counter(_operation(node) for node in nodes)
    told = [sorted(meta_graph.signature_def), sorted(operations.items())]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _operation(node: Any) -> str:
    shape = node.attr["shape"].shape.dim if node.op == "VarHandleOp" else ()
    sizes = ",".join(str(dimension.size) for dimension in shape)
    # Most operations name their type in one of these.
    types = [node.attr[key].type for key in ("T", "dtype", "SrcT", "DstT") if key in node.attr]
    return f"{node.op} {types} [{sizes}]"
