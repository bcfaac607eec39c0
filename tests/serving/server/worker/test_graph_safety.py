"""Refusal of graphs that read or write files or run Python."""

from typing import Any

import pytest

from serving.protocol import protos
from serving.protocol.errors import Code, ServingError
from serving.server.worker import graph_safety
from tests.serving import half_plus_two


def _graph(output: str = "y:0") -> Any:
    """Return a graph with a signature, and with a saver as tf.saved_model.save writes it."""
    meta_graph = protos.meta_graph_pb2.MetaGraphDef()
    _function(meta_graph, "traced_save", "SaveV2", "MergeV2Checkpoints")
    _function(meta_graph, "traced_restore", "RestoreV2", "AssignVariableOp")
    graph = meta_graph.graph_def
    graph.node.add(name="x", op="Placeholder")
    graph.node.add(name="y", op="Identity", input=["x"])
    for name in ("save", "restore"):
        graph.node.add(name=name, op="StatefulPartitionedCall").attr[
            "f"
        ].func.name = f"traced_{name}"
    meta_graph.saver_def.save_tensor_name = "save:0"
    meta_graph.saver_def.restore_op_name = "restore"
    meta_graph.signature_def["serving_default"].outputs["y"].name = output
    return meta_graph


def _function(meta_graph: Any, name: str, *operations: str) -> None:
    function = meta_graph.graph_def.library.function.add()
    function.signature.name = name
    for number, operation in enumerate(operations):
        function.node_def.add(name=str(number), op=operation)


def _refusal(meta_graph: Any) -> str:
    with pytest.raises(ServingError) as caught:
        graph_safety.check(meta_graph)
    assert caught.value.code is Code.PERMISSION_DENIED
    assert "--allow_unsafe_ops" in caught.value.message
    return caught.value.message


def test_graph_with_a_saver_is_accepted() -> None:
    graph_safety.check(_graph())


def test_small_model_is_accepted(tmp_path: Any) -> None:
    file = half_plus_two.write(tmp_path / "1") / "saved_model.pb"
    (meta_graph,) = protos.saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    graph_safety.check(meta_graph)


@pytest.mark.parametrize("operation", ["ReadFile", "WriteFile", "PyFunc", "EagerPyFunc"])
def test_unsafe_operation_is_refused_wherever_it_is(operation: str) -> None:
    unused = _graph()
    unused.graph_def.node.add(name="z", op=operation)
    assert f"({operation})" in _refusal(unused)
    in_a_function = _graph()
    _function(in_a_function, "f", "Identity", operation)
    assert f"({operation})" in _refusal(in_a_function)


@pytest.mark.parametrize("operation", ["SaveV2", "RestoreV2", "MergeV2Checkpoints"])
def test_signature_may_not_reach_checkpoints(operation: str) -> None:
    direct = _graph()
    direct.graph_def.node[1].input.append("^z")
    direct.graph_def.node.add(name="z", op=operation)
    assert f"({operation})" in _refusal(direct)
    nested = _graph("w:1")
    _function(nested, "inner", operation)
    _function(nested, "outer", "Case")
    nested.graph_def.library.function[-1].node_def[0].attr["branches"].list.func.add(name="inner")
    nested.graph_def.node.add(name="w", op="outer")
    assert f"({operation})" in _refusal(nested)


def test_signature_may_not_call_the_saver() -> None:
    assert "(MergeV2Checkpoints, SaveV2)" in _refusal(_graph("save:0"))
    assert "(RestoreV2)" in _refusal(_graph("restore:0"))


@pytest.mark.parametrize("key", ["saved_model_main_op", "legacy_init_op"])
def test_initialisation_may_not_write_checkpoints(key: str) -> None:
    meta_graph = _graph()
    meta_graph.collection_def[key].node_list.value.append("save")
    assert "SaveV2" in _refusal(meta_graph)


def test_restoring_may_not_write_checkpoints() -> None:
    meta_graph = _graph()
    meta_graph.saver_def.restore_op_name = "save"
    assert "SaveV2" in _refusal(meta_graph)


def test_only_prints_to_files_are_refused() -> None:
    meta_graph = _graph()
    node = meta_graph.graph_def.node.add(name="p", op="PrintV2")
    node.attr["output_stream"].s = b"stderr"
    graph_safety.check(meta_graph)
    node.attr["output_stream"].s = b"file://out"
    assert "(PrintV2)" in _refusal(meta_graph)
