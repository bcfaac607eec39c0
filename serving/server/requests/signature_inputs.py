"""Checks of a request's tensors against a signature, with TensorFlow Serving's messages.

Names and their number are checked as in servables/tensorflow/predict_util.cc and
tensorflow/cc/saved_model/util.cc, types as in the session (core/common_runtime). As there, shapes
are checked only by the graph, except those of large tensors that repeat a value: such a tensor may
be a million times larger than its message, so it must match the signature before it is expanded.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.protocol import tensors
from serving.protocol.errors import ServingError, invalid_argument

DEFAULT_SIGNATURE = "serving_default"
#: Tensors up to this size are expanded whatever their shape, as in TensorFlow Serving.
_SMALL_BYTES = 64 * 1024


@dataclasses.dataclass(frozen=True)
class Signature:
    """A parsed ``SignatureDef``.

    Attributes:
        inputs: DataType of each input by alias.
        outputs: DataType of each output by alias.
        defaults: array by alias, for inputs that a request may omit.
        feeds: input aliases in the order of the graph's arguments: sorted by tensor name.
        proto: the ``SignatureDef``.
    """

    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    defaults: Mapping[str, np.ndarray]
    feeds: tuple[str, ...]
    proto: Any


def read_signature(proto: Any) -> Signature:
    """Parse a ``SignatureDef``."""
    names = {alias: info.name for alias, info in proto.inputs.items()}
    return Signature(
        inputs={alias: proto.inputs[alias].dtype for alias in sorted(names)},
        outputs={alias: proto.outputs[alias].dtype for alias in sorted(proto.outputs)},
        defaults={alias: tensors.to_array(value) for alias, value in proto.defaults.items()},
        feeds=tuple(sorted(names, key=names.__getitem__)),
        proto=proto,
    )


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def check_names(signature: Signature, given: Iterable[str]) -> None:
    """Refuse a request whose inputs are not those of the signature.

    Args:
        signature: signature that is called.
        given: aliases of the inputs in the request.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: an input is missing or unknown.
    """
    names, wanted = set(given), signature.inputs.keys()
    if names == wanted:
        return
    extra, missing = names - wanted, wanted - names
    if len(names) > len(wanted) or (len(names) < len(wanted) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(names)}!={len(wanted)} "
            f"len({{{_joined(names)}}}) != len({{{_joined(wanted)}}}). "
            f"Sent extra: {{{_joined(extra)}}}. Missing but required: {{{_joined(missing)}}}."
        )
    for alias in sorted(missing - signature.defaults.keys()):
        feed = signature.proto.inputs[alias].name
        raise invalid_argument(
            f"Signature input alias: {alias}(feed name: {feed}) not found in request and no "
            f"default value provided. Inputs expected to be in the request {{{_joined(names)}}}, "
            f"or default input alias set: {_joined(signature.defaults)}"
        )
    if extra:
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {_joined(names & wanted)}, "
            f"request input: {_joined(names)}"
        )


def with_defaults(
    signature: Signature, arrays: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    """Return the inputs, completed by the signature's defaults."""
    if not signature.defaults:
        return arrays
    defaults = {alias: value for alias, value in signature.defaults.items() if alias not in arrays}
    return {**arrays, **defaults}


def check_types(signature: Signature, types: Mapping[str, int]) -> None:
    """Refuse tensors whose type differs from the signature's.

    Args:
        signature: signature that is called.
        types: DataType of each input in the request by alias.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: a type differs.
    """
    for alias, data_type in types.items():
        if data_type != signature.inputs[alias]:
            argument = signature.feeds.index(alias)
            raise invalid_argument(
                f"Expects arg[{argument}] to be {tensors.type_name(signature.inputs[alias])} but "
                f"{tensors.type_name(data_type)} is provided"
            )


def measure(
    signature: Signature, protos: Mapping[str, Any], max_bytes: int
) -> Mapping[str, tensors.TensorSize]:
    """Check the inputs of a ``PredictRequest``, and return their sizes; nothing is expanded.

    Args:
        signature: signature that is called.
        protos: ``TensorProto`` of each input by alias.
        max_bytes: maximum size of all inputs together.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: an input is invalid, too large, missing or unknown.
    """
    check_names(signature, protos)
    sizes = {}
    for alias, proto in protos.items():
        try:
            sizes[alias] = tensors.measure(proto, max_bytes)
        except tensors.TensorTooLargeError as error:
            raise _too_large(f"tensor parsing error: {alias}: {error}") from None
        except tensors.TensorError:
            raise invalid_argument(f"tensor parsing error: {alias}") from None
    check_types(signature, {alias: proto.dtype for alias, proto in protos.items()})
    for alias, size in sizes.items():
        if size.repeats and size.size > _SMALL_BYTES:
            _check_shape(signature, alias, size.shape)
    total = sum(size.size for size in sizes.values())
    if total > max_bytes:
        raise _too_large(f"The inputs are {total} bytes; at most {max_bytes} are allowed")
    return sizes


def _too_large(reason: str) -> ServingError:
    return invalid_argument(f"{reason}; split the request, or raise --max_request_bytes")


def _check_shape(signature: Signature, alias: str, shape: Sequence[int]) -> None:
    expected = signature.proto.inputs[alias].tensor_shape
    if expected.unknown_rank:
        return
    sizes = [dimension.size for dimension in expected.dim]
    if len(sizes) != len(shape) or any(
        wanted not in (-1, given) for wanted, given in zip(sizes, shape, strict=True)
    ):
        raise invalid_argument(
            f"Input {alias} repeats a value, so its shape must match the signature's "
            f"{_shape_text(sizes)}, not {_shape_text(shape)}; send every value"
        )


def _shape_text(shape: Iterable[int]) -> str:
    return f"[{','.join('?' if size < 0 else str(size) for size in shape)}]"


def read_arrays(
    signature: Signature, protos: Mapping[str, Any], sizes: Mapping[str, tensors.TensorSize]
) -> Mapping[str, np.ndarray]:
    """Read the inputs of a ``PredictRequest``.

    Args:
        signature: signature that is called.
        protos: ``TensorProto`` of each input by alias.
        sizes: result of ``measure``.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: an input has invalid content.
    """
    arrays = {}
    for alias, proto in protos.items():
        try:
            arrays[alias] = tensors.read(proto, sizes[alias])
        except tensors.TensorError:
            raise invalid_argument(f"tensor parsing error: {alias}") from None
    return with_defaults(signature, arrays)


def filtered_outputs(signature: Signature, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the requested outputs; () for all.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: an output is unknown or named twice.
    """
    seen: set[str] = set()
    for alias in wanted:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {{{_joined(signature.outputs)}}}."
            )
        if alias in seen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return tuple(wanted)
