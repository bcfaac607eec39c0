"""PredictionService and ModelService, called through the official stubs."""

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.protocol import protos, tensors
from tests.serving.server.conformance.server_process import Server

FLOAT, INT32, STRING = (
    protos.types_pb2.DT_FLOAT,
    protos.types_pb2.DT_INT32,
    protos.types_pb2.DT_STRING,
)
TIMEOUT = 60
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def _spec(message: Any, **spec: Any) -> Any:
    version = spec.pop("version", None)
    for name, value in {"name": "default", **spec}.items():
        setattr(message.model_spec, name, value)
    if version is not None:
        message.model_spec.version.value = version
    return message


def _predict(values: Any = (1.0, 2.0), data_type: int = FLOAT, **spec: Any) -> Any:
    request = _spec(protos.predict_pb2.PredictRequest(), **spec)
    array = np.array(values, tensors.TYPES[data_type].dtype)
    tensors.fill_proto(request.inputs["x"], array, data_type)
    return request


def _examples(request: Any, *values: float, **spec: Any) -> Any:
    for value in values:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(value)
    return _spec(request, **spec)


def _refusal(call: Callable[..., Any], request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=TIMEOUT)
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"signature_name": "serving_default"},
        {"version": 123},
        {"version_label": "stable"},
    ],
)
def test_predict_returns_the_outputs_and_the_model_spec(
    prediction: Any, spec: dict[str, Any]
) -> None:
    response = prediction.Predict(_predict(**spec), timeout=TIMEOUT)
    assert response.model_spec.name == "default"
    assert response.model_spec.signature_name == "serving_default"
    assert response.model_spec.version.value == 123
    assert not response.model_spec.version_label
    (output,) = response.outputs.values()
    assert output.dtype == FLOAT
    assert list(output.float_val) == [2.5, 3.0]
    assert [dim.size for dim in output.tensor_shape.dim] == [2]


def test_predict_accepts_tensor_content(prediction: Any) -> None:
    request = _predict()
    request.inputs["x"].Clear()
    request.inputs["x"].dtype = FLOAT
    request.inputs["x"].tensor_shape.dim.add(size=2)
    request.inputs["x"].tensor_shape.dim.add(size=1)
    request.inputs["x"].tensor_content = np.array([4, 6], "<f4").tobytes()
    output = prediction.Predict(request, timeout=TIMEOUT).outputs["y"]
    assert list(output.float_val) == [4.0, 5.0]
    assert [dim.size for dim in output.tensor_shape.dim] == [2, 1]


def test_predict_repeats_the_last_value(prediction: Any) -> None:
    request = _predict([1.0])
    request.inputs["x"].tensor_shape.dim[0].size = 3
    response = prediction.Predict(request, timeout=TIMEOUT)
    assert list(response.outputs["y"].float_val) == [2.5, 2.5, 2.5]


def test_predict_accepts_a_scalar_and_no_values(prediction: Any) -> None:
    assert list(prediction.Predict(_predict(2.0), timeout=TIMEOUT).outputs["y"].float_val) == [3.0]
    request = _predict([1.0, 1.0])
    del request.inputs["x"].float_val[:]
    assert list(prediction.Predict(request, timeout=TIMEOUT).outputs["y"].float_val) == [2.0, 2.0]


def test_output_filter_selects_outputs(prediction: Any) -> None:
    request = _predict()
    request.output_filter.append("y")
    assert list(prediction.Predict(request, timeout=TIMEOUT).outputs) == ["y"]


def _with(change: Callable[[Any], None]) -> Any:
    request = _predict()
    change(request)
    return request


def _rename(request: Any) -> None:
    request.inputs["z"].CopyFrom(request.inputs["x"])
    del request.inputs["x"]


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (protos.predict_pb2.PredictRequest, "INVALID_ARGUMENT", "Missing ModelSpec"),
        (lambda: _predict(name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            lambda: _predict(name="foo"),
            "NOT_FOUND",
            "Servable not found for request: Latest(foo)",
        ),
        (
            lambda: _predict(version=7),
            "NOT_FOUND",
            "Servable not found for request: Specific(default, 7)",
        ),
        (
            lambda: _predict(version=-7),
            "NOT_FOUND",
            "Servable not found for request: Specific(default, -7)",
        ),
        (
            lambda: _predict(version_label="nope"),
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: nope",
        ),
        (
            lambda: _predict(signature_name="s"),
            "FAILED_PRECONDITION",
            'Serving signature key "s" not found.',
        ),
        (
            lambda: _with(lambda request: request.inputs["a"].CopyFrom(request.inputs["x"])),
            "INVALID_ARGUMENT",
            "input size does not match signature: 2!=1 len({a,x}) != len({x}). Sent extra: {a}. "
            "Missing but required: {}.",
        ),
        (
            lambda: _with(lambda request: request.inputs.clear()),
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
            "Missing but required: {x}.",
        ),
        (
            lambda: _with(lambda request: request.output_filter.append("nope")),
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: nope Outputs expected to be in the set "
            "{y}.",
        ),
        (
            lambda: _with(lambda request: request.output_filter.extend(["y", "y"])),
            "INVALID_ARGUMENT",
            "duplicate output tensor alias: y",
        ),
        (
            lambda: _with(lambda request: setattr(request.inputs["x"], "tensor_content", b"123")),
            "INVALID_ARGUMENT",
            "tensor parsing error: x",
        ),
        (
            lambda: _with(lambda request: setattr(request.inputs["x"], "dtype", 0)),
            "INVALID_ARGUMENT",
            "tensor parsing error: x",
        ),
        (
            lambda: _with(
                lambda request: setattr(request.inputs["x"].tensor_shape, "unknown_rank", True)
            ),
            "INVALID_ARGUMENT",
            "tensor parsing error: x",
        ),
        (
            lambda: _with(
                lambda request: setattr(request.inputs["x"].tensor_shape.dim[0], "size", -1)
            ),
            "INVALID_ARGUMENT",
            "tensor parsing error: x",
        ),
    ],
)
def test_predict_refuses_an_invalid_request(
    prediction: Any, make: Callable[[], Any], code: str, message: str
) -> None:
    assert _refusal(prediction.Predict, make()) == (grpc.StatusCode[code], message)


def test_unknown_input_name_is_refused(prediction: Any) -> None:
    code, message = _refusal(prediction.Predict, _with(_rename))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "Signature input alias: x(feed name: x:0) not found in request" in message


def test_wrong_type_is_refused(prediction: Any) -> None:
    code, message = _refusal(prediction.Predict, _predict([1, 2], INT32))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "float" in message
    assert "int32" in message


def test_long_messages_are_truncated(prediction: Any) -> None:
    code, message = _refusal(prediction.Predict, _predict(signature_name="s" * 5000))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert message.endswith("s...TRUNCATED")
    assert len(message) == 1024 + len("...TRUNCATED")


def test_classify_returns_scores(prediction: Any) -> None:
    request = _examples(
        protos.classification_pb2.ClassificationRequest(),
        20.0,
        2.0,
        signature_name="classify_x_to_y",
    )
    response = prediction.Classify(request, timeout=TIMEOUT)
    rows = [
        [(each.label, each.score) for each in row.classes]
        for row in response.result.classifications
    ]
    assert rows == [[("", 12.0)], [("", 3.0)]]
    assert response.model_spec.name == "default"
    assert response.model_spec.signature_name == "classify_x_to_y"
    assert response.model_spec.version.value == 123


def test_regress_returns_values(prediction: Any) -> None:
    request = _examples(
        protos.regression_pb2.RegressionRequest(), 80.0, 2.0, signature_name="regress_x_to_y2"
    )
    response = prediction.Regress(request, timeout=TIMEOUT)
    assert [each.value for each in response.result.regressions] == [43.0, 4.0]
    assert response.model_spec.signature_name == "regress_x_to_y2"


def test_context_applies_to_every_example(prediction: Any) -> None:
    request = _spec(protos.regression_pb2.RegressionRequest(), signature_name="regress_x_to_y")
    examples = request.input.example_list_with_context
    examples.context.features.feature["x"].float_list.value.append(2.0)
    examples.examples.add()
    examples.examples.add()
    response = prediction.Regress(request, timeout=TIMEOUT)
    assert [each.value for each in response.result.regressions] == [3.0, 3.0]


@pytest.mark.parametrize(
    ("spec", "values", "message"),
    [
        ({"signature_name": "s"}, [1.0], "No signature was found with the name: s"),
        ({}, [1.0], "No classification inputs found in SignatureDef"),
        ({"signature_name": "classify_x_to_y"}, [], "Input is empty."),
        (
            {"signature_name": "regress_x_to_y"},
            [1.0],
            "Expected classification signature outputs to contain at least one of",
        ),
    ],
)
def test_classify_refuses_an_invalid_request(
    prediction: Any, spec: dict[str, Any], values: list[float], message: str
) -> None:
    request = _examples(protos.classification_pb2.ClassificationRequest(), *values, **spec)
    code, text = _refusal(prediction.Classify, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message in text


@pytest.mark.parametrize("method", ["Classify", "Regress"])
def test_request_without_model_spec_is_refused(prediction: Any, method: str) -> None:
    kinds = {
        "Classify": protos.classification_pb2.ClassificationRequest,
        "Regress": protos.regression_pb2.RegressionRequest,
    }
    assert _refusal(getattr(prediction, method), kinds[method]()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Missing ModelSpec",
    )


def test_examples_are_refused_for_a_float_input(prediction: Any) -> None:
    request = _examples(
        protos.classification_pb2.ClassificationRequest(), 1.0, signature_name="classify_x2_to_y3"
    )
    code, _ = _refusal(prediction.Classify, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT


def _multi(*tasks: tuple[str, str, str], values: tuple[float, ...] = (2.0, 4.0)) -> Any:
    request = protos.inference_pb2.MultiInferenceRequest()
    for name, key, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = name, key
    for value in values:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(value)
    return request


def test_multi_inference_returns_the_results_of_all_tasks(prediction: Any) -> None:
    request = _multi(
        ("default", "regress_x_to_y", REGRESS),
        ("default", "classify_x_to_y", CLASSIFY),
        ("default", "regress_x_to_y2", REGRESS),
    )
    first, second, third = prediction.MultiInference(request, timeout=TIMEOUT).results
    assert [each.value for each in first.regression_result.regressions] == [3.0, 4.0]
    rows = second.classification_result.classifications
    assert [row.classes[0].score for row in rows] == [3.0, 4.0]
    assert [each.value for each in third.regression_result.regressions] == [4.0, 5.0]
    assert first.model_spec.name == "default"
    assert first.model_spec.signature_name == "regress_x_to_y"
    assert third.model_spec.version.value == 123


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            [("default", "regress_x_to_y", REGRESS), ("", "regress_x_to_y2", REGRESS)],
            "INVALID_ARGUMENT",
            "Found ModelSpec with an empty model name.",
        ),
        (
            [("default", "regress_x_to_y", REGRESS), ("other", "regress_x_to_y2", REGRESS)],
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [("default", "regress_x_to_y", REGRESS)] * 2,
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: regress_x_to_y",
        ),
        (
            [("default", "s", REGRESS)],
            "INVALID_ARGUMENT",
            "Requested signature not found in model graph: s",
        ),
        (
            [("default", "regress_x_to_y", "tensorflow/serving/predict")],
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            [("foo", "regress_x_to_y", REGRESS)],
            "NOT_FOUND",
            "Servable not found for request: Latest(foo)",
        ),
    ],
)
def test_multi_inference_refuses_an_invalid_request(
    prediction: Any, tasks: list[tuple[str, str, str]], code: str, message: str
) -> None:
    refused = _refusal(prediction.MultiInference, _multi(*tasks))
    assert refused == (grpc.StatusCode[code], message)


def test_multi_inference_needs_examples(prediction: Any) -> None:
    request = _multi(("default", "regress_x_to_y", REGRESS), values=())
    assert _refusal(prediction.MultiInference, request) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Input is empty.",
    )


def test_metadata_lists_the_signatures(prediction: Any) -> None:
    request = _spec(protos.get_model_metadata_pb2.GetModelMetadataRequest())
    request.metadata_field.append("signature_def")
    response = prediction.GetModelMetadata(request, timeout=TIMEOUT)
    assert response.model_spec.name == "default"
    assert response.model_spec.version.value == 123
    signatures = protos.get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["serving_default"].inputs["x"].dtype == FLOAT
    assert "regress_x_to_y" in signatures.signature_def


@pytest.mark.parametrize(
    ("fields", "spec", "code", "message"),
    [
        (
            [],
            {},
            "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (["nope"], {}, "INVALID_ARGUMENT", "Metadata field nope is not supported"),
        (
            ["signature_def"],
            {"name": "foo"},
            "NOT_FOUND",
            "Servable not found for request: Latest(foo)",
        ),
    ],
)
def test_metadata_refuses_an_invalid_request(
    prediction: Any, fields: list[str], spec: dict[str, Any], code: str, message: str
) -> None:
    request = _spec(protos.get_model_metadata_pb2.GetModelMetadataRequest(), **spec)
    request.metadata_field.extend(fields)
    assert _refusal(prediction.GetModelMetadata, request) == (grpc.StatusCode[code], message)


@pytest.mark.parametrize("spec", [{}, {"version": 123}, {"version_label": "no_such_label"}])
def test_status_reports_the_served_version(model_service: Any, spec: dict[str, Any]) -> None:
    request = _spec(protos.get_model_status_pb2.GetModelStatusRequest(), **spec)
    (status,) = model_service.GetModelStatus(request, timeout=TIMEOUT).model_version_status
    assert status.version == 123
    assert status.state == 30
    assert status.status.error_code == 0
    assert status.status.error_message == ""


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "foo"}, "Could not find any versions of model foo"),
        ({"version": 7}, "Could not find version 7 of model default"),
    ],
)
def test_status_of_an_unknown_model_or_version_is_not_found(
    model_service: Any, spec: dict[str, Any], message: str
) -> None:
    request = _spec(protos.get_model_status_pb2.GetModelStatusRequest(), **spec)
    assert _refusal(model_service.GetModelStatus, request) == (grpc.StatusCode.NOT_FOUND, message)


def test_reload_requires_a_model_list(model_service: Any) -> None:
    request = protos.model_management_pb2.ReloadConfigRequest()
    code, message = _refusal(model_service.HandleReloadConfigRequest, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message.startswith("ServerModelConfig type not supported by HandleReloadConfigRequest.")


@pytest.mark.parametrize("method", ["Predict", "Classify", "MultiInference"])
@pytest.mark.parametrize("body", [b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f", b"\x12\x00\x0a"])
def test_bytes_that_are_not_a_message_are_refused(
    channel: grpc.Channel, method: str, body: bytes
) -> None:
    call = channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")
    with pytest.raises(grpc.RpcError) as caught:
        call(body, timeout=TIMEOUT)
    assert caught.value.code() in (
        grpc.StatusCode.INTERNAL,  # returned by gRPC itself
        grpc.StatusCode.INVALID_ARGUMENT,
    )


def test_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Nope")
    assert _refusal(call, b"")[0] == grpc.StatusCode.UNIMPLEMENTED


def test_health_check_reports_serving(server: Server, channel: grpc.Channel) -> None:
    if server.stock:
        pytest.skip("the stock server has no health service for models")
    health = health_pb2_grpc.HealthStub(channel)
    for name in (
        "",
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        "default",
    ):
        request = health_pb2.HealthCheckRequest(service=name)
        assert health.Check(request, timeout=TIMEOUT).status == 1, name
    code, _ = _refusal(health.Check, health_pb2.HealthCheckRequest(service="foo"))
    assert code == grpc.StatusCode.NOT_FOUND
