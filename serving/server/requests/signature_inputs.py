"""Checks the tensors of a request against a signature, with TensorFlow Serving's messages.

What is checked where: names and their number by servables/tensorflow/predict_util.cc and
tensorflow/cc/saved_model/util.cc, types by the session (core/common_runtime). Shapes are left to
the graph, as there.
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
    """What a request needs to know of a ``SignatureDef``.

    Attributes:
        inputs: alias -> DataType.
        outputs: alias -> DataType.
        defaults: alias -> the array that stands in where a request leaves an input out.
        feeds: aliases in the order of the graph's arguments: sorted by tensor name.
        proto: the ``SignatureDef``.
    """

    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    defaults: Mapping[str, np.ndarray]
    feeds: tuple[str, ...]
    proto: Any


def read_signature(proto: Any) -> Signature:
    """A ``SignatureDef`` in the form above."""
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
        signature: called.
        given: aliases in the request.

    Raises:
        ServingError: ``INVALID_ARGUMENT``.
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
    """The inputs with the signature's own where the request has none."""
    if not signature.defaults:
        return arrays
    defaults = {alias: value for alias, value in signature.defaults.items() if alias not in arrays}
    return {**arrays, **defaults}


def check_types(signature: Signature, types: Mapping[str, int]) -> None:
    """Refuse tensors of another type than the signature's.

    Args:
        signature: called.
        types: alias -> DataType of the request's tensors.

    Raises:
        ServingError: ``INVALID_ARGUMENT``.
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
    """The inputs of a ``PredictRequest``, checked.

    Raises:
        ServingError: ``INVALID_ARGUMENT``.
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
    """The outputs asked for; () for all.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: an unknown output, or one named twice.
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
