"""Classify and regress: from tf.Examples to classes and scores, or to values.

The signature takes serialised examples as ``inputs`` and returns ``classes`` and/or ``scores``, or
``outputs``. Checks and messages are those of TensorFlow Serving's classifier.cc, regressor.cc and
util.cc (servables/tensorflow). As there, the signature's method name is not checked.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.protocol import protos, tensors
from serving.protocol.errors import Code, ServingError, invalid_argument
from serving.server.requests.signature_inputs import Signature, check_types

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"

_INPUTS, _CLASSES, _SCORES, _OUTPUTS = "inputs", "classes", "scores", "outputs"
_FLOAT = protos.types_pb2.DT_FLOAT
_TYPE_ENUM = protos.types_pb2.DataType

#: For each example, its labels (b"" if there are none) and float32 scores (0 if there are none).
Classes = Sequence[tuple[Sequence[bytes], np.ndarray]]


def count_examples(message: Any) -> int:
    """Return the number of examples of an ``Input`` proto."""
    kind = message.WhichOneof("kind")
    return len(getattr(message, kind).examples) if kind else 0


def serialized_examples(message: Any, max_bytes: int = tensors.DEFAULT_MAX_BYTES) -> np.ndarray:
    """Return the examples of an ``Input`` proto: object[examples] of bytes.

    The features of the context are prepended to those of every example.

    Args:
        message: the ``Input`` proto.
        max_bytes: maximum size of all examples with their context.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: there are no examples, or they are too large.
    """
    kind = message.WhichOneof("kind")
    context = b""
    examples: Sequence[Any] = ()
    if kind == "example_list":
        examples = message.example_list.examples
    elif kind == "example_list_with_context":
        examples = message.example_list_with_context.examples
        context = message.example_list_with_context.context.SerializeToString()
    if not examples:
        raise invalid_argument("Input is empty.")
    size = len(context) * len(examples) + sum(example.ByteSize() for example in examples)
    if size > max_bytes:
        raise invalid_argument(
            f"The examples with their context are {size} bytes; at most {max_bytes} are allowed: "
            "split the request, or raise --max_request_bytes"
        )
    # Concatenated serialised messages are equivalent to the merged message.
    return np.array([context + example.SerializeToString() for example in examples], object)


def _check_input(signature: Signature, method: str) -> None:
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    _check_outputs(signature, method)
    if _INPUTS not in signature.inputs:
        raise invalid_argument(f"No {method} inputs found in SignatureDef: {signature.proto}")


def _check_outputs(signature: Signature, method: str) -> None:
    count = len(signature.outputs)
    if method == "classification" and count not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {count}")
    if method == "regression" and count != 1:
        raise invalid_argument("Expected one output Tensor.")


def classification_outputs(signature: Signature) -> tuple[str, ...]:
    """Return the outputs that classify reads.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: the signature cannot classify.
    """
    _check_input(signature, "classification")
    wanted = tuple(alias for alias in (_CLASSES, _SCORES) if alias in signature.outputs)
    if not wanted:
        raise invalid_argument(
            "Expected classification signature outputs to contain at least one of "
            f'"{_CLASSES}" or "{_SCORES}". Signature was: {signature.proto}'
        )
    return wanted


def regression_outputs(signature: Signature) -> tuple[str, ...]:
    """Return the output that regress reads.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: the signature cannot regress.
    """
    _check_input(signature, "regression")
    if _OUTPUTS not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {signature.proto}")
    return (_OUTPUTS,)


def example_inputs(signature: Signature, examples: np.ndarray) -> Mapping[str, np.ndarray]:
    """Return the examples as the signature's input.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: the input is not a string.
    """
    check_types(signature, {_INPUTS: tensors.STRING})
    return {_INPUTS: examples}


def read_classes(signature: Signature, outputs: Mapping[str, np.ndarray], examples: int) -> Classes:
    """Return the result of classify.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: the outputs do not match the examples or each other.
    """
    classes, scores = outputs.get(_CLASSES), outputs.get(_SCORES)
    for name, array, wanted in ((_CLASSES, classes, tensors.STRING), (_SCORES, scores, _FLOAT)):
        if array is not None:
            _check_matrix(name, array, signature.outputs[name], wanted, examples)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            "Tensors class and score should match in dim_size(1). Got "
            f"{classes.shape[1]} vs. {scores.shape[1]}"
        )
    if scores is None:
        assert classes is not None
        scores = np.zeros(classes.shape, np.float32)
    labels = [[b""] * scores.shape[1]] * examples if classes is None else classes.tolist()
    return list(zip(labels, scores, strict=True))


def _check_matrix(name: str, array: np.ndarray, data_type: int, wanted: int, examples: int) -> None:
    if array.ndim != 2:
        raise invalid_argument(
            f"Expected Tensor shape: [batch_size num_classes] but got {_shape_text(array)}"
        )
    if data_type != wanted:
        raise invalid_argument(
            f"Expected {name} Tensor of {_TYPE_ENUM.Name(wanted)}. Got: "
            f"{_TYPE_ENUM.Name(data_type)}"
        )
    if len(array) != examples:
        raise invalid_argument(
            f"Expected {name} output batch size of {examples}. Got: {len(array)}"
        )


def _shape_text(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def read_values(
    signature: Signature, outputs: Mapping[str, np.ndarray], examples: int
) -> np.ndarray:
    """Return the result of regress: float32[examples].

    Raises:
        ServingError: ``INVALID_ARGUMENT``: the output does not match the examples.
    """
    array = outputs[_OUTPUTS]
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != 1):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape_text(array)}"
        )
    if len(array) != examples:
        raise invalid_argument(
            f"Input batch size did not match output batch size: {examples} vs. {len(array)}"
        )
    if signature.outputs[_OUTPUTS] != _FLOAT:
        raise invalid_argument(
            "Expected output Tensor of DT_FLOAT.  Got: "
            f"{_TYPE_ENUM.Name(signature.outputs[_OUTPUTS])}"
        )
    return array.ravel()


def fill_classifications(result: Any, classes: Classes) -> None:
    """Write the result of classify to a ``ClassificationResult``."""
    for labels, scores in classes:
        row = result.classifications.add()
        for label, score in zip(labels, scores.tolist(), strict=True):
            row.classes.add(label=label.decode("utf-8", "replace"), score=score)


def fill_regressions(result: Any, values: np.ndarray) -> None:
    """Write the result of regress to a ``RegressionResult``."""
    for value in values.tolist():
        result.regressions.add(value=value)


@dataclasses.dataclass(frozen=True)
class Method:
    """Classify or regress.

    Attributes:
        api: name of the method in metrics.
        outputs: function that returns the outputs of a signature that the method reads.
        read: function that computes the result from these outputs and the number of examples.
        fill: function that writes the result to a proto.
        result_field: field of ``InferenceResult``.
    """

    api: str
    outputs: Callable[[Signature], tuple[str, ...]]
    read: Callable[[Signature, Mapping[str, np.ndarray], int], Any]
    fill: Callable[[Any, Any], None]
    result_field: str


CLASSIFY = Method(
    "Classify",
    classification_outputs,
    read_classes,
    fill_classifications,
    "classification_result",
)
REGRESS = Method("Regress", regression_outputs, read_values, fill_regressions, "regression_result")
_METHODS = {CLASSIFY_METHOD: CLASSIFY, REGRESS_METHOD: REGRESS}


def method_named(name: str) -> Method:
    """Return the method of an ``InferenceTask``.

    Raises:
        ServingError: ``UNIMPLEMENTED``: the method is neither classify nor regress.
    """
    if name not in _METHODS:
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {name}")
    return _METHODS[name]
