"""What GetModelMetadata says of a model, the same over both transports."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.client.errors import ClientError
from serving.protocol import tensors
from serving.protocol.errors import Code
from serving.protocol.protos import types_pb2


@dataclasses.dataclass(frozen=True)
class TensorMetadata:
    """One input or output.

    Attributes:
        dtype: TensorFlow's name, ``DT_STRING``.
        shape: None where a dimension is free; None for the whole where the rank is.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def data_type(self) -> int:
        """The number of its type, of the enum ``DataType``."""
        return types_pb2.DataType.Value(self.dtype)

    @property
    def numpy_dtype(self) -> np.dtype | None:
        """NumPy's type; None where it has none. Strings are object arrays of bytes."""
        known = tensors.TYPES.get(self.data_type)
        return None if known is None else known.dtype


@dataclasses.dataclass(frozen=True)
class SignatureMetadata:
    """One signature.

    Attributes:
        inputs: by alias.
        outputs: by alias.
        method_name: ``tensorflow/serving/predict``, or another.
    """

    inputs: dict[str, TensorMetadata]
    outputs: dict[str, TensorMetadata]
    method_name: str


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """The version that answered.

    Attributes:
        name: the model's.
        version: its number.
        signatures: by key.
    """

    name: str
    version: int
    signatures: dict[str, SignatureMetadata]

    def signature(self, key: str, server: str) -> SignatureMetadata:
        """The signature of that name.

        Raises:
            ClientError: the model has none; ``NOT_FOUND``.
        """
        if key not in self.signatures:
            legal = ", ".join(sorted(self.signatures)) or "none"
            message = f"model {self.name} at {server} has no signature {key!r}; it has {legal}"
            raise ClientError(Code.NOT_FOUND, message)
        return self.signatures[key]


def make_signatures(protos: Mapping[str, Any]) -> dict[str, SignatureMetadata]:
    """Signatures from ``SignatureDef`` protos by key."""
    return {
        key: SignatureMetadata(
            inputs={name: _tensor(info) for name, info in proto.inputs.items()},
            outputs={name: _tensor(info) for name, info in proto.outputs.items()},
            method_name=proto.method_name,
        )
        for key, proto in protos.items()
        if not key.startswith("__saved_model_init_op")
    }


def _tensor(info: Any) -> TensorMetadata:
    shape = info.tensor_shape
    sizes = tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)
    name = types_pb2.DataType.Name(info.dtype)
    return TensorMetadata(name, None if shape.unknown_rank else sizes)
