"""Request logic with fake models, for cases that half_plus_two on a real server cannot show."""

import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

from serving.protocol import protos, tensors
from serving.protocol.errors import Code, ServingError
from serving.server.requests import model_info, multi_inference
from serving.server.requests.service import InferenceService, ModelSpec
from serving.server.rest import json_service
from tests.serving import fake_models
from tests.serving.fake_models import FLOAT, STRING, FakeModels, FakeServable

REGRESS = "tensorflow/serving/regress"


def _service(*servables: FakeServable, **options: Any) -> InferenceService:
    return InferenceService(FakeModels(*servables), **options)


def _texts(*texts: bytes, name: str = "reviews") -> Any:
    request = protos.predict_pb2.PredictRequest()
    request.model_spec.name = name
    tensors.fill_proto(request.inputs["text"], np.array(texts, object), STRING)
    return request


def _refusal(call: Any) -> ServingError:
    with pytest.raises(ServingError) as caught:
        call()
    return caught.value


def test_predict_returns_every_output() -> None:
    servable = fake_models.classifier()
    response = _service(servable).predict(_texts(b"abc", b"a")).wait()
    assert set(response.outputs) == {"scores", "label", "score"}
    assert list(response.outputs["scores"].float_val) == [0.25, 0.75, 0.5, 0.5]
    assert [dim.size for dim in response.outputs["scores"].tensor_shape.dim] == [2, 2]
    assert list(response.outputs["label"].string_val) == [b"positive", b"positive"]
    assert servable.pins == 0


def test_output_filter_reaches_the_servable() -> None:
    servable = fake_models.classifier()
    request = _texts(b"abc")
    request.output_filter.append("label")
    assert list(_service(servable).predict(request).wait().outputs) == ["label"]
    assert servable.requests[0].outputs == ("label",)


def test_run_request_has_the_number_of_examples_and_the_deadline() -> None:
    servable = fake_models.classifier()
    deadline = time.monotonic() + 60
    _service(servable).predict(_texts(b"a", b"b", b"c"), deadline).wait()
    assert servable.requests[0].examples == 3
    assert servable.requests[0].deadline == deadline


def test_too_many_examples_are_refused() -> None:
    servable = fake_models.classifier()
    service = _service(servable, max_request_examples=2)
    error = _refusal(lambda: service.predict(_texts(b"a", b"b", b"c")))
    assert error.code is Code.INVALID_ARGUMENT
    assert "3 examples; at most 2" in error.message
    assert (servable.pins, servable.requests) == (0, [])


def _repeated(data_type: int, field: str, value: Any, *shape: int) -> Any:
    request = protos.predict_pb2.PredictRequest()
    request.model_spec.name = "model"
    proto = request.inputs["x"]
    proto.dtype = data_type
    getattr(proto, field).append(value)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return request


def _echo(data_type: int, *shape: int, rank: bool = True) -> FakeServable:
    """Return a servable that returns nothing, with one input of a type and shape."""
    proto = fake_models.signature({"x": data_type}, {})
    if rank:
        proto.inputs["x"].tensor_shape.Clear()
        for size in shape:
            proto.inputs["x"].tensor_shape.dim.add(size=size)
    return FakeServable("model", 1, {"serving_default": (proto, lambda request: {})})


def _peak(call: Any) -> tuple[ServingError, int]:
    tracemalloc.start()
    try:
        return _refusal(call), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


BIG = 1 << 25
TYPES = protos.types_pb2


@pytest.mark.parametrize(
    ("data_type", "field", "value"),
    [
        (TYPES.DT_STRING, "string_val", b"a"),
        (TYPES.DT_FLOAT, "float_val", 1.0),
        (TYPES.DT_HALF, "half_val", 1),
        (TYPES.DT_BOOL, "bool_val", True),
        (TYPES.DT_INT8, "int_val", 1),
        (TYPES.DT_COMPLEX64, "scomplex_val", 1.0),
    ],
)
@pytest.mark.parametrize(
    ("servable_shape", "shape", "message"),
    [
        ((-1, -1), (1, 2 * BIG), "--max_request_bytes"),
        ((-1,), (1, BIG // 64), "[?], not [1,524288]"),
        ((-1, 4), (1, BIG // 64), "[?,4], not [1,524288]"),
        ((-1,), (BIG // 64,), "524288 examples; at most 4096"),
    ],
)
def test_tiny_message_is_refused_before_it_is_expanded(
    data_type: int,
    field: str,
    value: Any,
    servable_shape: tuple[int, ...],
    shape: tuple[int, ...],
    message: str,
) -> None:
    servable = _echo(data_type, *servable_shape)
    service = _service(servable, max_tensor_bytes=BIG)
    request = _repeated(data_type, field, value, *shape)
    error, peak = _peak(lambda: service.predict(request))
    assert (error.code, message in error.message) == (Code.INVALID_ARGUMENT, True)
    assert peak < 1 << 20
    assert (servable.pins, servable.requests, service.budget.reserved) == (0, [], 0)


def test_wrong_type_is_refused_before_the_tensor_is_expanded() -> None:
    service = _service(_echo(FLOAT, rank=False))
    request = _repeated(STRING, "string_val", b"a", 1, BIG // 64)
    error, peak = _peak(lambda: service.predict(request))
    assert "to be float but string is provided" in error.message
    assert peak < 1 << 20


def test_one_long_string_that_repeats_counts_with_all_its_copies() -> None:
    service = _service(_echo(STRING, -1), max_tensor_bytes=1000)
    error = _refusal(lambda: service.predict(_repeated(STRING, "string_val", b"a" * 200, 6)))
    assert "larger than 1000 bytes" in error.message


def test_inputs_together_are_limited() -> None:
    proto = fake_models.signature({"x": FLOAT, "y": FLOAT}, {})
    servable = FakeServable("model", 1, {"serving_default": (proto, lambda request: {})})
    request = _repeated(FLOAT, "float_val", 1.0, 1, 200)
    request.inputs["y"].CopyFrom(request.inputs["x"])
    error = _refusal(lambda: _service(servable, max_tensor_bytes=1000).predict(request))
    assert "1600 bytes; at most 1000" in error.message


def test_running_calls_share_a_budget_of_bytes() -> None:
    servable = _echo(FLOAT, -1, -1)
    service = _service(servable, max_tensor_bytes=1000)
    request = _repeated(FLOAT, "float_val", 1.0, 1, 250)
    servable.hold()
    calls = [service.predict(request) for _ in range(8)]
    error = _refusal(lambda: service.predict(request))
    assert (error.code, servable.pins) == (Code.RESOURCE_EXHAUSTED, 8)
    body = b'{"inputs": [[' + b",".join([b"1"] * 250) + b"]]}"
    error = _refusal(
        lambda: json_service.submit(service, "predict", ModelSpec("model"), body, None)
    )
    assert error.code is Code.RESOURCE_EXHAUSTED
    calls.pop().future.cancel()
    calls.append(service.predict(request))
    servable.let_go()
    for call in calls:
        call.wait()
    assert (service.budget.reserved, servable.pins) == (0, 0)


def test_context_is_not_copied_into_too_many_examples() -> None:
    service = _service(fake_models.half_plus_two(), max_tensor_bytes=10_000)
    request = protos.classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "default", "classify_x_to_y"
    examples = request.input.example_list_with_context
    examples.context.features.feature["x"].bytes_list.value.append(b"a" * 1000)
    for _ in range(20):
        examples.examples.add()
    error = _refusal(lambda: service.classify(request))
    assert (error.code, service.budget.reserved) == (Code.INVALID_ARGUMENT, 0)
    assert "at most 10000 are allowed" in error.message


def test_tensor_that_repeats_its_last_value_too_often_is_refused() -> None:
    request = _texts(b"a")
    request.inputs["text"].tensor_shape.dim[0].size = 2**50
    error = _refusal(lambda: _service(fake_models.classifier()).predict(request))
    assert (error.code, error.message) == (
        Code.INVALID_ARGUMENT,
        "tensor parsing error: text: a tensor of shape [1125899906842624] is larger than 268435456 "
        "bytes; split the request, or raise --max_request_bytes",
    )


@pytest.mark.parametrize("failure", [Code.UNAVAILABLE, Code.INVALID_ARGUMENT, Code.INTERNAL])
def test_failure_of_the_servable_reaches_the_caller(failure: Code) -> None:
    servable = fake_models.classifier()
    servable.failure = ServingError(failure, "reason", 3)
    error = _refusal(_service(servable).predict(_texts(b"a")).wait)
    assert (error.code, error.message, error.retry_after_seconds) == (failure, "reason", 3)
    assert servable.pins == 0


def test_passed_deadline_ends_the_wait_and_cancels_the_run() -> None:
    servable = fake_models.classifier()
    servable.hold()
    call = _service(servable).predict(_texts(b"a"), time.monotonic() - 1)
    error = _refusal(call.wait)
    assert error.code is Code.DEADLINE_EXCEEDED
    assert call.future.cancelled()
    assert servable.pins == 0


def test_cancelled_run_releases_the_version() -> None:
    servable = fake_models.classifier()
    servable.hold()
    call = _service(servable).predict(_texts(b"a"))
    assert servable.pins == 1, "the version is pinned during the run"
    call.future.cancel()
    assert _refusal(call.wait).code is Code.CANCELLED
    assert servable.pins == 0


def test_newest_version_answers_unless_another_is_named() -> None:
    old, new = fake_models.classifier(1), fake_models.classifier(2)
    service = _service(old, new)
    assert service.predict(_texts(b"a")).wait().model_spec.version.value == 2
    request = _texts(b"a")
    request.model_spec.version.value = 1
    assert service.predict(request).wait().model_spec.version.value == 1


def test_reloaded_version_has_its_own_signatures() -> None:
    models = FakeModels(fake_models.classifier())
    service = InferenceService(models)
    service.predict(_texts(b"a")).wait()
    models.servables[0] = fake_models.half_plus_two(1, "reviews")
    error = _refusal(lambda: service.predict(_texts(b"a")))
    assert "Inputs contains invalid name" in error.message or "Signature input" in error.message


def _defaulted() -> FakeServable:
    proto = fake_models.signature({"x": FLOAT, "scale": FLOAT}, {"y": FLOAT})
    tensors.fill_proto(proto.defaults["scale"], np.array(10, np.float32), FLOAT)

    def run(request: Any) -> dict[str, np.ndarray]:
        return {"y": request.inputs["x"] * request.inputs["scale"]}

    return FakeServable("m", 1, {"serving_default": (proto, run)})


def test_omitted_inputs_have_the_defaults_of_the_signature() -> None:
    request = protos.predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    tensors.fill_proto(request.inputs["x"], np.array([1, 2], np.float32), FLOAT)
    service = _service(_defaulted())
    assert list(service.predict(request).wait().outputs["y"].float_val) == [10.0, 20.0]
    tensors.fill_proto(request.inputs["scale"], np.array(2, np.float32), FLOAT)
    assert list(service.predict(request).wait().outputs["y"].float_val) == [2.0, 4.0]
    request.inputs.clear()
    request.inputs["nope"].dtype = FLOAT
    assert "Signature input alias: x(feed name: x:0) not found in request" in (
        _refusal(lambda: service.predict(request)).message
    )


def _constant(proto: Any, **outputs: np.ndarray) -> FakeServable:
    return FakeServable("m", 1, {"serving_default": (proto, lambda request: outputs)})


def _classes(classes: Any, scores: Any) -> FakeServable:
    outputs = {"classes": STRING, "scores": FLOAT}
    arrays = {"classes": classes, "scores": scores}
    given = {name: array for name, array in arrays.items() if array is not None}
    proto = fake_models.signature({"inputs": STRING}, {name: outputs[name] for name in given})
    return FakeServable("m", 1, {"serving_default": (proto, lambda request: given)})


def _classify(servable: FakeServable, examples: int = 1) -> Any:
    request = protos.classification_pb2.ClassificationRequest()
    request.model_spec.name = "m"
    for _ in range(examples):
        request.input.example_list.examples.add()
    response = _service(servable).classify(request).wait()
    return [
        [(each.label, each.score) for each in row.classes]
        for row in response.result.classifications
    ]


LABELS = np.array([[b"no", b"yes"]], object)
SCORES = np.array([[0.25, 0.75]], np.float32)


@pytest.mark.parametrize(
    ("classes", "scores", "rows"),
    [
        (LABELS, SCORES, [[("no", 0.25), ("yes", 0.75)]]),
        (None, SCORES, [[("", 0.25), ("", 0.75)]]),
        (LABELS, None, [[("no", 0.0), ("yes", 0.0)]]),
    ],
)
def test_classify_returns_labels_and_scores(classes: Any, scores: Any, rows: Any) -> None:
    assert _classify(_classes(classes, scores)) == rows


@pytest.mark.parametrize(
    ("classes", "scores", "message"),
    [
        (LABELS[0], None, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        (None, SCORES[0], "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        (LABELS, SCORES[:, :1], "should match in dim_size(1). Got 2 vs. 1"),
        (np.repeat(LABELS, 2, 0), None, "Expected classes output batch size of 1. Got: 2"),
        (None, np.repeat(SCORES, 2, 0), "Expected scores output batch size of 1. Got: 2"),
    ],
)
def test_classify_refuses_outputs_that_do_not_match(
    classes: Any, scores: Any, message: str
) -> None:
    error = _refusal(lambda: _classify(_classes(classes, scores)))
    assert error.code is Code.INVALID_ARGUMENT
    assert message in error.message


def test_classify_refuses_scores_of_another_type() -> None:
    proto = fake_models.signature({"inputs": STRING}, {"scores": STRING})
    servable = FakeServable(
        "m", 1, {"serving_default": (proto, lambda request: {"scores": LABELS})}
    )
    error = _refusal(lambda: _classify(servable))
    assert error.message == "Expected scores Tensor of DT_FLOAT. Got: DT_STRING"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.zeros((1, 2), np.float32),
            "to be either [batch_size] or [batch_size, 1] but got [1,2]",
        ),
        (np.zeros(2, np.float32), "Input batch size did not match output batch size: 1 vs. 2"),
    ],
)
def test_regress_refuses_outputs_that_do_not_match(values: np.ndarray, message: str) -> None:
    proto = fake_models.signature({"inputs": STRING}, {"outputs": FLOAT})
    servable = FakeServable(
        "m", 1, {"serving_default": (proto, lambda request: {"outputs": values})}
    )
    body = b'{"examples": [{"x": 1.0}]}'
    call = json_service.submit(_service(servable), "regress", ModelSpec("m"), body, None)
    assert message in _refusal(call.wait).message


def _tasks(*keys: str) -> Any:
    request = protos.inference_pb2.MultiInferenceRequest()
    for key in keys:
        task = request.tasks.add(method_name=REGRESS)
        task.model_spec.name, task.model_spec.signature_name = "default", key
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.append(2.0)
    return request


def test_multi_inference_runs_on_one_pinned_version() -> None:
    servable = fake_models.half_plus_two()
    servable.hold()
    service = _service(servable)
    calls = multi_inference.submit(service, _tasks("regress_x_to_y", "regress_x_to_y2"))
    assert servable.pins == 1
    servable.let_go()
    first, second = multi_inference.wait(calls).results
    assert first.regression_result.regressions[0].value == 3.0
    assert second.regression_result.regressions[0].value == 4.0
    assert servable.pins == 0


def test_multi_inference_with_an_invalid_task_releases_the_version() -> None:
    servable = fake_models.half_plus_two()
    service = _service(servable)
    _refusal(lambda: multi_inference.submit(service, _tasks("regress_x_to_y", "nope")))
    _refusal(lambda: multi_inference.submit(service, protos.inference_pb2.MultiInferenceRequest()))
    assert (servable.pins, servable.requests) == (0, [])


def test_multi_inference_fails_as_a_whole() -> None:
    servable = fake_models.half_plus_two()
    servable.failure = ServingError(Code.UNAVAILABLE, "full")
    calls = multi_inference.submit(_service(servable), _tasks("regress_x_to_y"))
    assert _refusal(lambda: multi_inference.wait(calls)).code is Code.UNAVAILABLE
    assert servable.pins == 0


def test_reload_passes_the_config_on_and_returns_metrics() -> None:
    models = FakeModels(fake_models.half_plus_two())
    request = protos.model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(name="m", base_path="/models/m")
    request.metric_names.extend(["/tensorflow/serving/request_count", "/unknown"])
    response = model_info.reload_config(models, request)
    assert [each.model_config_list.config[0].name for each in models.reloaded] == ["m"]
    assert response.status.error_code == 0
    assert [(each.name, each.int64_value_increase) for each in response.metric] == [
        ("/tensorflow/serving/request_count", 0),
        ("/unknown", 0),
    ]


def test_json_predict_refuses_a_signature_without_inputs() -> None:
    proto = fake_models.signature({}, {"y": FLOAT})
    servable = FakeServable("m", 1, {"serving_default": (proto, lambda request: {})})
    body = b'{"instances": [1]}'
    error = _refusal(
        lambda: json_service.submit(_service(servable), "predict", ModelSpec("m"), body, None)
    )
    assert error.message == "Failed to get input map for signature: DEFAULT"
    assert servable.pins == 0
