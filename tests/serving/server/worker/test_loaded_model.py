import copy

import pytest

from serving.protocol import protos
from serving.server.worker.loaded_model import graph_fingerprint


@pytest.fixture
def meta_graph():
    """Return a graph with a variable, a function that multiplies by it, and a signature."""
    meta = protos.meta_graph_pb2.MetaGraphDef()
    meta.signature_def["serving_default"].method_name = "tensorflow/serving/predict"
    variable = meta.graph_def.node.add(name="kernel", op="VarHandleOp")
    for size in (384, 2):
        variable.attr["shape"].shape.dim.add(size=size)
    function = meta.graph_def.library.function.add()
    function.signature.name = "__inference_logits_16553"
    function.node_def.add(name="product", op="MatMul").attr["T"].type = 1
    return meta


def test_fingerprint_ignores_names_and_weights(meta_graph) -> None:
    other = copy.deepcopy(meta_graph)
    [function] = other.graph_def.library.function
    function.signature.name = "__inference_logits_9"
    function.node_def[0].name = "product_1"
    other.meta_info_def.tensorflow_version = "2.21.0"
    assert graph_fingerprint(other) == graph_fingerprint(meta_graph)


def another_type(meta) -> None:
    meta.graph_def.library.function[0].node_def[0].attr["T"].type = 14


def another_size(meta) -> None:
    meta.graph_def.node[0].attr["shape"].shape.dim[0].size = 768


def another_operation(meta) -> None:
    meta.graph_def.library.function[0].node_def.add(name="sum", op="AddV2").attr["T"].type = 1


def another_signature(meta) -> None:
    meta.signature_def["serving_default_bfloat16"].method_name = "tensorflow/serving/predict"


@pytest.mark.parametrize(
    "change", [another_type, another_size, another_operation, another_signature]
)
def test_fingerprint_depends_on_the_computation(meta_graph, change) -> None:
    other = copy.deepcopy(meta_graph)
    change(other)
    assert graph_fingerprint(other) != graph_fingerprint(meta_graph)
