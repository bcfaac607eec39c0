"""Variables of a TF2 SavedModel, read without loading it, so that none of its operations run.

A SavedModel consists of an object graph, whose nodes name the variables and assets, and of a
checkpoint with an object graph of its own, whose nodes name the stored tensors. As in
``tf.saved_model.load``, a node of one graph belongs to the node of the other that the same
attributes lead to.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

#: Names that TensorFlow gives to the checkpoint's object graph and to a variable's value in it.
_OBJECT_GRAPH: Final = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE: Final = "VARIABLE_VALUE"


@dataclasses.dataclass(frozen=True)
class SavedVariables:
    """Data of a SavedModel in the format of TF Hub's text encoders.

    Attributes:
        folder: the SavedModel's folder.
        variables: name -> value, of the variables in the root's attribute ``variables``.
        vocabulary_file: path of the root's asset ``vocab_file``; "" if it has none.
        lowercase: the root's variable ``do_lower_case``; None if it has none.
    """

    folder: str
    variables: dict[str, np.ndarray]
    vocabulary_file: str
    lowercase: bool | None


def read(folder: str, rename: Callable[[str], str | None]) -> SavedVariables:
    """Read a SavedModel's variables from its checkpoint.

    Args:
        folder: a folder or URI with ``saved_model.pb``.
        rename: takes a variable's name, returns the name to list it under, or None to skip it.

    Raises:
        ValueError: an asset is outside the folder.
        google.protobuf.message.DecodeError: an object graph is damaged.
        tf.errors.OpError: a file is missing or damaged.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2, trackable_object_graph_pb2

    with tf.io.gfile.GFile(os.path.join(folder, "saved_model.pb"), "rb") as file:
        meta_graph = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs[0]
    nodes = meta_graph.object_graph_def.nodes
    checkpoint = tf.train.load_checkpoint(os.path.join(folder, "variables", "variables"))
    stored = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
        checkpoint.get_tensor(_OBJECT_GRAPH)
    ).nodes
    keys = _checkpoint_keys(nodes, stored)
    root = _children(nodes[0]) if nodes else {}
    variables = {}
    for number in _children(nodes[root["variables"]]).values() if "variables" in root else ():
        name = rename(nodes[number].variable.name)
        if name is not None and number in keys:
            variables[name] = checkpoint.get_tensor(keys[number])
    flag = keys.get(root.get("do_lower_case", -1))
    return SavedVariables(
        folder=folder,
        variables=variables,
        vocabulary_file=_asset(folder, meta_graph, root.get("vocab_file", -1)),
        lowercase=None if flag is None else bool(checkpoint.get_tensor(flag)),
    )


def _children(node: Any) -> dict[str, int]:
    """Return attribute -> number of the node that it leads to."""
    return {child.local_name: child.node_id for child in node.children}


def _checkpoint_keys(nodes: Iterable[Any], stored: Iterable[Any]) -> dict[int, str]:
    """Return number of a variable's node in the SavedModel -> name of its tensor."""
    nodes, stored = list(nodes), list(stored)
    keys: dict[int, str] = {}
    seen = {0}
    waiting = [(0, 0)] if nodes and stored else []
    while waiting:
        number, twin = waiting.pop()
        for attribute in stored[twin].attributes:
            if attribute.name == _VALUE:
                keys[number] = attribute.checkpoint_key
        twins = _children(stored[twin])
        for name, child in _children(nodes[number]).items():
            if name in twins and child not in seen:
                seen.add(child)
                waiting.append((child, twins[name]))
    return keys


def _asset(folder: str, meta_graph: Any, number: int) -> str:
    nodes = meta_graph.object_graph_def.nodes
    if number < 0 or nodes[number].WhichOneof("kind") != "asset":
        return ""
    name = meta_graph.asset_file_def[nodes[number].asset.asset_file_def_index].filename
    if os.path.isabs(name) or ".." in name.split("/"):
        raise ValueError(f"the asset {name!r} is outside the module")
    return os.path.join(folder, "assets", name)
