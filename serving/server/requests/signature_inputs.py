"""Checks of a request's tensors against a signature, with TensorFlow Serving's messages.

Names and their number are checked as in servables/tensorflow/predict_util.cc and
tensorflow/cc/saved_model/util.cc, types as in the session (core/common_runtime). As there, shapes
are checked only by the graph.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.protocol import tensors
from serving.protocol.errors import invalid_argument

DEFAULT_SIGNATURE = "serving_default"


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


def read_arrays(
    signature: Signature, protos: Mapping[str, Any], max_bytes: int
) -> Mapping[str, np.ndarray]:
    """Read and check the inputs of a ``PredictRequest``.

    Args:
        signature: signature that is called.
        protos: ``TensorProto`` of each input by alias.
        max_bytes: maximum size of an input.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: an input is invalid, missing or unknown.
    """
    check_names(signature, protos)
    arrays = {}
    for alias, proto in protos.items():
        try:
            arrays[alias] = tensors.to_array(proto, max_bytes)
        except tensors.TensorError:
            raise invalid_argument(f"tensor parsing error: {alias}") from None
    check_types(signature, {alias: proto.dtype for alias, proto in protos.items()})
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
