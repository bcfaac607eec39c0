"""Writer of small SavedModels from protocol buffers, without TensorFlow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.protocol import protos

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

_TYPES = protos.types_pb2
FLOAT, STRING, INT64, INT32, BOOL = (
    _TYPES.DT_FLOAT,
    _TYPES.DT_STRING,
    _TYPES.DT_INT64,
    _TYPES.DT_INT32,
    _TYPES.DT_BOOL,
)
_VALUE_FIELDS = {
    FLOAT: "float_val",
    STRING: "string_val",
    INT64: "int64_val",
    INT32: "int_val",
    BOOL: "bool_val",
}

Shape = Sequence[int] | None


class Graph:
    """A MetaGraphDef under construction. Methods that add an op return the name of its tensor."""

    def __init__(self) -> None:
        self.saved_model = protos.saved_model_pb2.SavedModel(saved_model_schema_version=1)
        self._meta_graph = self.saved_model.meta_graphs.add()
        self._meta_graph.meta_info_def.tags.append("serve")
        self._meta_graph.graph_def.versions.producer = 1000

    def op(self, op: str, name: str, inputs: Sequence[str] = (), **attributes: Any) -> str:
        """Add a node with attributes; wrap DataTypes in ``type_of``."""
        node = self._meta_graph.graph_def.node.add(op=op, name=name, input=inputs)
        for key, value in attributes.items():
            _set_attribute(node.attr[key], value)
        return name

    def constant(self, name: str, value: Any, dtype: int, shape: Sequence[int] = ()) -> str:
        tensor = protos.tensor_pb2.TensorProto(dtype=dtype, tensor_shape=_shape(shape))
        values = value if isinstance(value, list) else [value]
        getattr(tensor, _VALUE_FIELDS[dtype]).extend(values)
        return self.op("Const", name, dtype=_Type(dtype), value=tensor)

    def placeholder(self, name: str, dtype: int, shape: Shape = None) -> str:
        return self.op("Placeholder", name, dtype=_Type(dtype), shape=_shape(shape))

    def signature(
        self,
        key: str,
        inputs: Mapping[str, tuple[str, int, Shape]],
        outputs: Mapping[str, tuple[str, int, Shape]],
        method: str = PREDICT,
    ) -> None:
        """Add a signature. Tensors are (op name, dtype, shape); shape None is unknown rank."""
        signature = self._meta_graph.signature_def[key]
        signature.method_name = method
        for field, tensors in ((signature.inputs, inputs), (signature.outputs, outputs)):
            for alias, (name, dtype, shape) in tensors.items():
                field[alias].name = f"{name}:0"
                field[alias].dtype = dtype
                field[alias].tensor_shape.CopyFrom(_shape(shape))

    def init_op(self, name: str) -> None:
        """Run the op when the model loads."""
        self._meta_graph.collection_def["legacy_init_op"].node_list.value.append(name)

    def write(self, directory: Path) -> Path:
        directory.mkdir(parents=True)
        (directory / "saved_model.pb").write_bytes(self.saved_model.SerializeToString())
        return directory


class _Type(int):
    """A number that is a DataType."""


def _set_attribute(attribute: Any, value: Any) -> None:
    if isinstance(value, _Type):
        attribute.type = int(value)
    elif isinstance(value, protos.tensor_pb2.TensorProto):
        attribute.tensor.CopyFrom(value)
    elif isinstance(value, protos.tensor_shape_pb2.TensorShapeProto):
        attribute.shape.CopyFrom(value)
    elif isinstance(value, int):
        attribute.i = value
    elif isinstance(value, list):
        attribute.list.SetInParent()
        for each in value:
            if isinstance(each, _Type):
                attribute.list.type.append(int(each))
            else:
                attribute.list.shape.add().CopyFrom(each)
    else:
        raise TypeError(f"{value!r}")


def type_of(dtype: int) -> Any:
    """Return a DataType as the value of an attribute."""
    return _Type(dtype)


def shape_of(shape: Shape) -> Any:
    """Return a shape as the value of an attribute."""
    return _shape(shape)


def _shape(shape: Shape) -> Any:
    if shape is None:
        return protos.tensor_shape_pb2.TensorShapeProto(unknown_rank=True)
    proto = protos.tensor_shape_pb2.TensorShapeProto()
    for size in shape:
        proto.dim.add(size=size)
    return proto
