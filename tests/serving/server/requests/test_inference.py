"""Classify and regress: signatures that cannot, and outputs that do not fit."""

from collections.abc import Mapping

import numpy as np
import pytest

from serving.protocol import protos
from serving.protocol.errors import Code, ServingError
from serving.server.requests import inference
from serving.server.requests.signature_inputs import Signature, read_signature
from tests.serving.fake_models import FLOAT, STRING, signature

EXAMPLES = {"inputs": STRING}


def make(inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Signature:
    return read_signature(signature(inputs, outputs))


def refused(call, *arguments) -> str:
    with pytest.raises(ServingError) as caught:
        call(*arguments)
    assert caught.value.code == Code.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({**EXAMPLES, "more": STRING}, {"scores": FLOAT}, "one input Tensor"),
        ({"text": STRING}, {"scores": FLOAT}, "No classification inputs"),
        (EXAMPLES, dict.fromkeys("abc", FLOAT), "one or two output Tensors, found 3"),
        (EXAMPLES, {"other": FLOAT}, "at least one of"),
    ],
)
def test_signature_that_cannot_classify_is_refused(inputs, outputs, message) -> None:
    assert message in refused(inference.classification_outputs, make(inputs, outputs))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"outputs": FLOAT, "more": FLOAT}, "one output Tensor"),
        ({"other": FLOAT}, "No regression outputs"),
    ],
)
def test_signature_that_cannot_regress_is_refused(outputs, message) -> None:
    assert message in refused(inference.regression_outputs, make(EXAMPLES, outputs))


@pytest.mark.parametrize(
    ("types", "arrays", "message"),
    [
        ({"scores": FLOAT}, {"scores": np.zeros(2, np.float32)}, "[batch_size num_classes]"),
        ({"scores": STRING}, {"scores": np.zeros((2, 2), object)}, "scores Tensor of DT_FLOAT"),
        ({"scores": FLOAT}, {"scores": np.zeros((3, 2), np.float32)}, "batch size of 2. Got: 3"),
        (
            {"scores": FLOAT, "classes": STRING},
            {"scores": np.zeros((2, 2), np.float32), "classes": np.zeros((2, 1), object)},
            "should match in dim_size(1)",
        ),
    ],
)
def test_classes_that_do_not_fit_are_refused(types, arrays, message) -> None:
    assert message in refused(inference.read_classes, make(EXAMPLES, types), arrays, 2)


def test_classes_without_scores_score_zero() -> None:
    classes = np.array([[b"a", b"b"]], object)
    [(labels, scores)] = inference.read_classes(
        make(EXAMPLES, {"classes": STRING}), {"classes": classes}, 1
    )
    assert (labels, scores.tolist()) == ([b"a", b"b"], [0.0, 0.0])


def test_scores_without_classes_have_empty_labels() -> None:
    scores = np.array([[0.5, 0.5]], np.float32)
    [(labels, _)] = inference.read_classes(make(EXAMPLES, {"scores": FLOAT}), {"scores": scores}, 1)
    assert labels == [b"", b""]


@pytest.mark.parametrize(
    ("data_type", "array", "message"),
    [
        (FLOAT, np.zeros((2, 2), np.float32), "[batch_size, 1] but got [2,2]"),
        (FLOAT, np.zeros(3, np.float32), "2 vs. 3"),
        (STRING, np.zeros(2, object), "DT_FLOAT.  Got: DT_STRING"),
    ],
)
def test_values_that_do_not_fit_are_refused(data_type, array, message) -> None:
    values = make(EXAMPLES, {"outputs": data_type})
    assert message in refused(inference.read_values, values, {"outputs": array}, 2)


def test_context_comes_before_each_example() -> None:
    message = protos.input_pb2.Input()
    assert "empty" in refused(inference.serialized_examples, message)
    listed = message.example_list_with_context
    listed.context.features.feature["a"].int64_list.value.append(1)
    listed.examples.add().features.feature["b"].int64_list.value.append(2)
    [serialized] = inference.serialized_examples(message)
    merged = protos.example_pb2.Example.FromString(serialized)
    assert set(merged.features.feature) == {"a", "b"}
