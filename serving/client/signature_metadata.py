"""Model metadata from GetModelMetadata, identical over REST and gRPC."""

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
    """Type and shape of an input or output.

    Attributes:
        dtype: TensorFlow's name of the type, such as ``DT_STRING``.
        shape: sizes of the dimensions, None for one of any size; None if the rank is unknown.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def data_type(self) -> int:
        """Number of the type in TensorFlow's enum ``DataType``."""
        return types_pb2.DataType.Value(self.dtype)

    @property
    def numpy_dtype(self) -> np.dtype | None:
        """Equivalent NumPy type, ``object`` for strings; None if there is none."""
        known = tensors.TYPES.get(self.data_type)
        return None if known is None else known.dtype


@dataclasses.dataclass(frozen=True)
class SignatureMetadata:
    """Inputs and outputs of a signature.

    Attributes:
        inputs: inputs by name.
        outputs: outputs by name.
        method_name: TensorFlow Serving's method, such as ``tensorflow/serving/predict``.
    """

    inputs: dict[str, TensorMetadata]
    outputs: dict[str, TensorMetadata]
    method_name: str


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """Signatures of the model version that answered.

    Attributes:
        name: name of the model.
        version: version number.
        signatures: signatures by key.
    """

    name: str
    version: int
    signatures: dict[str, SignatureMetadata]

    def signature(self, key: str, server: str) -> SignatureMetadata:
        """Return the signature with a key.

        Args:
            key: key of the signature, such as ``serving_default``.
            server: URL for the error message.

        Raises:
            ClientError: the model does not have the signature (``NOT_FOUND``).
        """
        if key not in self.signatures:
            legal = ", ".join(sorted(self.signatures)) or "none"
            message = f"model {self.name} at {server} has no signature {key!r}; it has {legal}"
            raise ClientError(Code.NOT_FOUND, message)
        return self.signatures[key]


def make_signatures(protos: Mapping[str, Any]) -> dict[str, SignatureMetadata]:
    """Convert ``SignatureDef`` protos by key."""
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
