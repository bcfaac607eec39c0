"""Routes, requests and responses of the REST API, with the behaviour of TensorFlow Serving."""

import gzip
import json
import math

import httpx
import pytest

from tests.serving.server.conformance.server_process import Server

M = "/v1/models/default"
REGRESS = {"signature_name": "regress_x_to_y"}
ONE_CLASS, TWO_CLASSES = [[["", 12.0]]], [[["", 12.0]], [["", 2.5]]]
CLASSIFY = {"signature_name": "classify_x_to_y"}


def _error(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/json"
    body = json.loads(response.content)
    assert list(body) == ["error"]
    return body["error"]


def _is_pretty(content: bytes) -> bool:
    return content.startswith(b'{\n    "') and content.endswith(b"\n}")


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", "/v1/foo", "Malformed request: GET /v1/foo"),
        ("POST", "/v1/foo", "Malformed request: POST /v1/foo"),
        ("GET", "/v1/", "Malformed request: GET /v1/"),
        ("GET", "/V1/FOO", "Malformed request: GET /V1/FOO"),
        ("GET", "/v1/models", "Missing model name in request."),
        ("GET", "/v1/models/metadata/x", "Malformed request: GET /v1/models/metadata/x"),
        ("POST", "/v1/models", "Malformed request: POST /v1/models"),
        ("GET", "/v1/models/", "Malformed request: GET /v1/models/"),
        ("GET", "/v1/models/debug/model_name", "Malformed request"),
        ("POST", f"{M}/metadata", f"Malformed request: POST {M}/metadata"),
        ("GET", f"{M}:predict", f"Malformed request: GET {M}:predict"),
        ("PUT", f"{M}:predict", f"Malformed request: PUT {M}:predict"),
        ("DELETE", M, f"Malformed request: DELETE {M}"),
        ("PATCH", M, f"Malformed request: PATCH {M}"),
        ("POST", f"{M}:PREDICT", f"Malformed request: POST {M}:PREDICT"),
        ("POST", f"{M}:explain", "Malformed request"),
        ("POST", f"{M}:predict/", "Malformed request"),
        ("POST", f"{M}:predict?x=1", f"Malformed request: POST {M}:predict?x=1"),
        ("GET", f"{M}/", f"Malformed request: GET {M}/"),
        ("POST", f"{M}/version/50:predict", "Malformed request"),
        ("POST", f"{M}/label/x:regress", "Malformed request"),
        ("POST", f"{M}/versions/HELLO:regress", "Malformed request"),
        ("POST", f"{M}/versions/-1:regress", "Malformed request"),
        ("POST", f"{M}/versions/:regress", "Malformed request"),
        ("POST", f"{M}/versions/50/labels/x:regress", "Malformed request"),
        ("POST", f"{M}/labels/a/b:regress", "Malformed request"),
    ],
)
def test_unknown_route_below_v1_is_400(
    http: httpx.Client, method: str, path: str, message: str
) -> None:
    response = http.request(method, path)
    assert response.status_code == 400
    assert message in _error(response)
    assert _is_pretty(response.content)


@pytest.mark.parametrize("path", ["/index", "/", "/v1", "/v2/models", "/v1models", "/statuspage"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_route_outside_v1_is_404(http: httpx.Client, method: str, path: str) -> None:
    assert http.request(method, path).status_code == 404


@pytest.mark.parametrize("digits", ["18446744073709551615", "9223372036854775808", "9" * 5000])
@pytest.mark.parametrize("suffix", [":regress", ""])
def test_version_out_of_range_is_refused(
    server: Server, http: httpx.Client, digits: str, suffix: str
) -> None:
    path = f"{M}/versions/{digits}{suffix}"
    response = http.post(path, content=b"{}") if suffix else http.get(path)
    assert response.status_code == 400
    if not server.stock:  # the stock server reports it only in its log
        assert f"Failed to convert version: {digits} to numeric." in _error(response)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/foo:predict", 404, "Servable not found for request: Latest(foo)"),
        ("/v1/models/default99:predict", 404, "Servable not found for request: Latest(default99)"),
        ("/v1/models/a%20b%2Fc:predict", 404, "Servable not found for request: Latest(a b/c)"),
        (f"{M}/versions/99:predict", 404, "Servable not found for request: Specific(default, 99)"),
        (f"{M}/versions/0:predict", 404, "Servable not found for request: Specific(default, 0)"),
        (
            f"{M}/versions/9223372036854775807:predict",
            404,
            "Servable not found for request: Specific(default, 9223372036854775807)",
        ),
        (f"{M}/labels/nope:predict", 400, "Unrecognized servable version label: nope"),
        (f"{M}/labels/a%20b:predict", 400, "Unrecognized servable version label: a b"),
        ("/v1/models/foo/labels/nope:predict", 400, "Unrecognized servable version label: nope"),
    ],
)
@pytest.mark.parametrize("verb", ["predict", "classify", "regress"])
def test_unknown_model_version_or_label_is_refused(
    http: httpx.Client, path: str, status: int, message: str, verb: str
) -> None:
    body = {"instances": [1.0], "examples": [{"x": 1.0}]}
    response = http.post(path.replace(":predict", f":{verb}"), json=body)
    assert response.status_code == status
    assert _error(response) == message


@pytest.mark.parametrize(
    "path",
    [
        f"{M}:predict",
        "/V1/Models/default:predict",
        f"{M}/versions/123:predict",
        f"{M}/versions/000123:predict",
        f"{M}/VERSIONS/123:predict",
        f"{M}/labels/stable:predict",
        "/v1/models/%64efault:predict",
        "/v1/models/default/labels/%73table:predict",
    ],
)
def test_every_form_of_the_models_path_is_accepted(http: httpx.Client, path: str) -> None:
    response = http.post(path, json={"instances": [1.0, 2.0]})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.content) == {"predictions": [2.5, 3.0]}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"instances": [1.0, 2.0, 5.0]}, {"predictions": [2.5, 3.0, 4.5]}),
        ({"instances": [[1, 2], [3, 4]]}, {"predictions": [[2.5, 3.0], [3.5, 4.0]]}),
        ({"instances": [[[1]], [[2]]]}, {"predictions": [[[2.5]], [[3.0]]]}),
        ({"instances": [{"x": 1}, {"x": 2}]}, {"predictions": [2.5, 3.0]}),
        ({"instances": [{"x": [1, 2]}]}, {"predictions": [[2.5, 3.0]]}),
        ({"instances": [[]]}, {"predictions": [[]]}),
        ({"inputs": [2, 3, 4]}, {"outputs": [3.0, 3.5, 4.0]}),
        ({"inputs": {"x": [2, 3, 4]}}, {"outputs": [3.0, 3.5, 4.0]}),
        ({"inputs": {"x": [2], "other": 1}}, {"outputs": [3.0]}),
        ({"inputs": 2}, {"outputs": 3.0}),
        ({"inputs": {"x": [[1], [2]]}}, {"outputs": [[2.5], [3.0]]}),
        ({"inputs": []}, {"outputs": []}),
        ({"inputs": [2], "unknown": {"key": [None]}}, {"outputs": [3.0]}),
        ({"signature_name": "serving_default", "instances": [3.0]}, {"predictions": [3.5]}),
        ({"signature_name": "", "instances": [3.0]}, {"predictions": [3.5]}),
    ],
)
def test_predict_returns_the_expected_values(
    http: httpx.Client, body: object, answer: object
) -> None:
    response = http.post(f"{M}:predict", json=body)
    assert response.status_code == 200, response.text
    assert json.loads(response.content) == answer


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"instances":[1,2]}', b'{\n    "predictions": [2.5, 3.0\n    ]\n}'),
        (b'{"instances":[[1],[2]]}', b'{\n    "predictions": [[2.5], [3.0]\n    ]\n}'),
        (b'{"inputs":[1,2]}', b'{\n    "outputs": [\n        2.5,\n        3.0\n    ]\n}'),
        (b'{"inputs":1}', b'{\n    "outputs": 2.5\n}'),
        (
            b'{"inputs":[[1]]}',
            b'{\n    "outputs": [\n        [\n            2.5\n        ]\n    ]\n}',
        ),
    ],
)
def test_predict_response_matches_byte_for_byte(
    http: httpx.Client, body: bytes, answer: bytes
) -> None:
    assert http.post(f"{M}:predict", content=body).content == answer


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("17999996", "9e+06"),
        ("1999994", "999999.0"),
        ("-3", "0.5"),
        ("0", "2.0"),
        ("-4", "0.0"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("Inf", "Infinity"),
        ("-Inf", "-Infinity"),
        ("1e39", "Infinity"),
        ("1e38", "5e+37"),
        ("0.2", "2.1"),
        ("0.1", "2.05"),
        ("0.333333333", "2.16666675"),
        ("1435774380", "717887168.0"),
        ("1e2", "52.0"),
        ("18446744073709551616", "9.22337204e+18"),
    ],
)
def test_numbers_are_read_and_written_as_by_tensorflow_serving(
    http: httpx.Client, x: str, y: str
) -> None:
    response = http.post(f"{M}:predict", content=f'{{"instances": [{x}]}}')
    assert response.text == f'{{\n    "predictions": [{y}\n    ]\n}}'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"  ", "JSON Parse error: The document is empty. at offset: 2"),
        (b"instances = [1, 2]", "JSON Parse error: Invalid value. at offset: 0"),
        (
            b'{"instances": [1, 2',
            "JSON Parse error: Missing a comma or ']' after an array element.",
        ),
        (b'{"instances": [1,]}', "JSON Parse error: Invalid value."),
        (b'{"instances": [1]', "JSON Parse error: Missing a comma or '}' after an object member."),
        (b'{"instances" [1]}', "JSON Parse error: Missing a colon after a name of object member."),
        (b"{instances: [1]}", "JSON Parse error: Missing a name for object member. at offset: 1"),
        (b'{"instances": [1], }', "JSON Parse error: Missing a name for object member."),
        (b'{"instances": [1e999]}', "JSON Parse error: Number too big to be stored in double."),
        (b'{"instances": [1.]}', "JSON Parse error: Miss fraction part in number."),
        (b'{"instances": [1e]}', "JSON Parse error: Miss exponent in number."),
        (b'{"a": "x', "JSON Parse error: Missing a closing quotation mark in string."),
        (b'{"a": "\\q"}', "JSON Parse error: Invalid escape character in string."),
        (b'{"a": "\\u12"}', "JSON Parse error: Incorrect hex digit after \\u escape in string."),
        (b'{"a": "\\ud800"}', "JSON Parse error: The surrogate pair in string is invalid."),
        (b"[1]", "JSON Value: [1] Is not object"),
        (b"null", "JSON Value: null Is not object"),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        (b'{"a": 1}', "Missing 'inputs' or 'instances' key"),
        (b'{"instances": []}', "No values in 'instances' array"),
        (b'{"instances": 1}', "Expecting 'instances' to be an list/array"),
        (b'{"instances": {"x": [1]}}', "Expecting 'instances' to be an list/array"),
        (
            b'{"instances": [1], "inputs": [1]}',
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        ),
        (
            b'{"signature_name": 100, "instances": [1]}',
            "not formatted correctly. 'signature_name' key must be a string value.",
        ),
        (
            b'{"signature_name": "s", "instances": [1]}',
            'Serving signature name: "s" not found in signature def',
        ),
        (
            b'{"instances": ["x", "y"]}',
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
            'JSON Value: "x" Type: String is not of expected type: float',
        ),
        (b'{"instances": [true]}', "JSON Value: true Type: True is not of expected type: float"),
        (b'{"instances": [null]}', "JSON Value: null Type: Null is not of expected type: float"),
        (b'{"inputs": "x"}', 'JSON Value: "x" Type: String is not of expected type: float'),
        (b'{"instances": [{"b64": "YQ=="}]}', "Type: Object is not of expected type: float"),
        (b'{"instances": [[1,2],[3,4],[5,6,7]]}', "Expecting tensor size: 2 but got: 3"),
        (b'{"instances": [[1,2],[3,4],[[5,6]]]}', "Expecting shape [2] but got: [1,2]"),
        (b'{"instances": [1, [1]]}', "Expecting shape [] but got: [1]"),
        (b'{"instances": [[1, [2]]]}', "Encountered list at unexpected level: 1 expected < 1"),
        (b'{"instances": [[[1], 2]]}', "found at incorrect level: 2 in the JSON DOM. Expected at"),
        (
            b'{"instances": [[[1, 2], [3]]]}',
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        (
            b'{"instances": [{"x": 1}, {}]}',
            "Failed to process element: 1 of 'instances' list. JSON object: {} keys must be equal "
            "to: x",
        ),
        (
            b'{"instances": [{"x": 1, "z": 1}]}',
            "Failed to process element: 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON object: does not have named input: z",
        ),
        (
            b'{"instances": [{"x": 1}, 2]}',
            "Expecting object but got list at item 1 of input list",
        ),
        (
            b'{"instances": [2, {"x": 1}]}',
            "Expecting value/list but got object at item 1 of input list",
        ),
        (b'{"inputs": {"y": 1}}', "Missing named input: x in 'inputs' object."),
    ],
)
def test_predict_refuses_an_invalid_body(http: httpx.Client, body: bytes, message: str) -> None:
    response = http.post(f"{M}:predict", content=body)
    assert response.status_code == 400
    assert message in _error(response)
    assert _is_pretty(response.content)


def test_quoted_value_is_truncated(http: httpx.Client) -> None:
    response = http.post(f"{M}:predict", json={"instances": ["y" * 100_000]})
    assert response.status_code == 400
    listed = http.post(f"{M}:predict", json={"a": [7] * 100_000, "instances": 1})
    assert len(_error(listed)) < 400


@pytest.mark.parametrize(
    ("verb", "body", "answer"),
    [
        ("classify", {**CLASSIFY, "examples": [{"x": 20.0}]}, [[["", 12.0]]]),
        (
            "classify",
            {**CLASSIFY, "examples": [{"x": [20.0]}, {"x": 1.0}]},
            [[["", 12.0]], [["", 2.5]]],
        ),
        (
            "classify",
            {**CLASSIFY, "context": {"x": 20.0}, "examples": [{"y": "a"}]},
            [[["", 12.0]]],
        ),
        ("regress", {**REGRESS, "examples": [{"x": 80.0}]}, [42.0]),
        ("regress", {**REGRESS, "examples": [{"x": 80.0}, {"x": 2.0}]}, [42.0, 3.0]),
        ("regress", {**REGRESS, "context": {"x": 2.0}, "examples": [{}, {}]}, [3.0, 3.0]),
        ("regress", {"signature_name": "regress_x_to_y2", "examples": [{"x": 80.0}]}, [43.0]),
    ],
)
def test_classify_and_regress_return_the_expected_values(
    http: httpx.Client, verb: str, body: object, answer: object
) -> None:
    response = http.post(f"{M}:{verb}", json=body)
    assert response.status_code == 200, response.text
    assert json.loads(response.content) == {"results": answer}


def test_classify_and_regress_responses_match_byte_for_byte(http: httpx.Client) -> None:
    body = {"examples": [{"x": 2.0}, {"x": 4.0}]}
    classified = http.post(f"{M}:classify", json={**CLASSIFY, **body})
    assert classified.content == b'{\n    "results": [[["", 3.0]], [["", 4.0]]\n    ]\n}'
    regressed = http.post(f"{M}:regress", json={**REGRESS, **body})
    assert regressed.content == b'{\n    "results": [3.0, 4.0]\n}'


@pytest.mark.parametrize(
    ("verb", "body", "message"),
    [
        ("classify", b"", "JSON Parse error: The document is empty"),
        ("regress", b"[]", "JSON Value: [] Is not object"),
        ("classify", b"{}", "key 'examples' is expected and was not found"),
        ("classify", b'{"examples": 1}', "Expecting 'examples' value to be an list/array"),
        ("classify", b'{"examples": []}', "'examples' value is an empty array"),
        ("classify", b'{"examples": [1]}', "Example must be JSON object but got JSON Number"),
        (
            "regress",
            b'{"context": [], "examples": [{}]}',
            "Example must be JSON object but got JSON",
        ),
        (
            "classify",
            b'{"examples": [{"x": null}]}',
            "Feature: x has element with unexpected JSON type: Null",
        ),
        (
            "classify",
            b'{"examples": [{"x": [[1]]}]}',
            "Feature: x has element with unexpected JSON type: Array",
        ),
        (
            "classify",
            b'{"examples": [{"x": {"a": 1}}]}',
            "Feature: x has element with unexpected JSON type: Object",
        ),
        (
            "classify",
            b'{"examples": [{"x": [1, "a"]}]}',
            "Unexpected element type in feature: x expecting type: int64",
        ),
        (
            "classify",
            b'{"examples": [{"x": [1.5, 1]}]}',
            "Unexpected element type in feature: x expecting type: float",
        ),
        (
            "regress",
            b'{"examples": [{"x": 18446744073709551615}]}',
            "Feature: x has uint64_t element. Only int64_t is supported.",
        ),
        ("regress", b'{"examples": [{"x": {"b64": "*"}}]}', "Unable to base64 decode"),
        (
            "classify",
            b'{"signature_name": "s", "examples": [{"x": 1.0}]}',
            "No signature was found with the name: s",
        ),
        (
            "classify",
            b'{"examples": [{"x": 1.0}]}',
            "No classification inputs found in SignatureDef",
        ),
        ("regress", b'{"examples": [{"x": 1.0}]}', "No regression inputs found in SignatureDef"),
        (
            "classify",
            b'{"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}]}',
            "Expected classification signature outputs to contain at least one of",
        ),
        (
            "regress",
            b'{"signature_name": "classify_x_to_y", "examples": [{"x": 1.0}]}',
            "No regression outputs found in SignatureDef",
        ),
    ],
)
def test_classify_and_regress_refuse_an_invalid_body(
    http: httpx.Client, verb: str, body: bytes, message: str
) -> None:
    response = http.post(f"{M}:{verb}", content=body)
    assert response.status_code == 400
    assert message in _error(response)


def test_example_of_the_wrong_kind_returns_the_graphs_error(http: httpx.Client) -> None:
    response = http.post(f"{M}:regress", json={**REGRESS, "examples": [{"x": 1}]})
    assert response.status_code == 400
    assert "Data types don't match" in _error(response)


def test_text_after_the_first_document_is_ignored(http: httpx.Client) -> None:
    response = http.post(f"{M}:predict", content=b'{"instances":[1]}, {"x"')
    assert json.loads(response.content) == {"predictions": [2.5]}


def test_byte_order_mark_is_skipped(http: httpx.Client) -> None:
    response = http.post(f"{M}:predict", content=b'\xef\xbb\xbf{"instances":[1]}')
    assert json.loads(response.content) == {"predictions": [2.5]}


def test_content_type_is_ignored(http: httpx.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json"):
        response = http.post(
            f"{M}:predict", content=b'{"instances":[1]}', headers={"content-type": kind}
        )
        assert response.status_code == 200


def test_gzip_body_is_decompressed(http: httpx.Client) -> None:
    packed = gzip.compress(b'{"instances": [1, 2]}', mtime=0)
    response = http.post(f"{M}:predict", content=packed, headers={"content-encoding": "gzip"})
    assert json.loads(response.content) == {"predictions": [2.5, 3.0]}


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b'{"instances": [1]}', mtime=0)[:-9]])
def test_invalid_gzip_body_counts_as_empty(http: httpx.Client, body: bytes) -> None:
    response = http.post(f"{M}:predict", content=body, headers={"content-encoding": "gzip"})
    assert response.status_code == 400
    assert _error(response) == "JSON Parse error: The document is empty"


def test_chunked_body_is_accepted(http: httpx.Client) -> None:
    response = http.post(f"{M}:predict", content=iter([b'{"insta', b'nces":', b"[1]}"]))
    assert json.loads(response.content) == {"predictions": [2.5]}


def test_request_may_have_many_instances(http: httpx.Client) -> None:
    numbers = list(range(4000))
    answer = http.post(f"{M}:predict", json={"instances": numbers}).json()["predictions"]
    assert answer == [number / 2 + 2 for number in numbers]
    assert not any(math.isnan(number) for number in answer)


def test_preflight_requires_an_origin(http: httpx.Client) -> None:
    assert http.options(f"{M}:predict", headers={"origin": "http://a.test"}).status_code == 200
    assert http.options(f"{M}:predict").status_code == 400
