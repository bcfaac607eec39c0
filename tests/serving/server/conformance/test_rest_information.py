"""Status, metadata and the metrics page of the REST API."""

import json

import httpx
import pytest

from tests.serving.server.conformance.server_process import Server

M = "/v1/models/default"
STATUS = b"""{
 "model_version_status": [
  {
   "version": "123",
   "state": "AVAILABLE",
   "status": {
    "error_code": "OK",
    "error_message": ""
   }
  }
 ]
}
"""


@pytest.mark.parametrize(
    "path",
    [
        M,
        "/V1/MODELS/default",
        f"{M}/versions/123",
        f"{M}/versions/00123",
        f"{M}/labels/stable",
        f"{M}/labels/no_such_label",
        f"{M}/METADATA",
    ],
)
def test_status_reports_the_served_version(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.content == STATUS


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/models/foo", "Could not find any versions of model foo"),
        ("/v1/models/metadata", "Could not find any versions of model metadata"),
        (f"{M}?x=1", "Could not find any versions of model default?x=1"),
        (f"{M}/versions/7", "Could not find version 7 of model default"),
        ("/v1/models/foo/versions/7", "Could not find version 7 of model foo"),
    ],
)
def test_status_of_an_unknown_model_or_version_is_not_found(
    http: httpx.Client, path: str, message: str
) -> None:
    response = http.get(path)
    assert response.status_code == 404
    assert json.loads(response.content) == {"error": message}


@pytest.mark.parametrize(
    "path", [f"{M}/metadata", f"{M}/versions/123/metadata", f"{M}/labels/stable/metadata"]
)
def test_metadata_lists_the_signatures(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert response.status_code == 200, response.text
    body = json.loads(response.content)
    assert set(body) == {"model_spec", "metadata"}
    assert body["model_spec"] == {"name": "default", "signature_name": "", "version": "123"}
    signatures = body["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {
        "serving_default",
        "classify_x_to_y",
        "classify_x2_to_y3",
        "regress_x_to_y",
        "regress_x_to_y2",
        "regress_x2_to_y3",
    }
    column = {
        "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
        "unknown_rank": False,
    }
    assert signatures["serving_default"] == {
        "inputs": {"x": {"dtype": "DT_FLOAT", "name": "x:0", "tensor_shape": column}},
        "outputs": {"y": {"dtype": "DT_FLOAT", "name": "y:0", "tensor_shape": column}},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    assert signatures["regress_x_to_y"]["inputs"]["inputs"] == {
        "dtype": "DT_STRING",
        "name": "tf_example:0",
        "tensor_shape": {"dim": [], "unknown_rank": True},
    }


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/foo/metadata", 404, "Servable not found for request: Latest(foo)"),
        (f"{M}/versions/7/metadata", 404, "Servable not found for request: Specific(default, 7)"),
        (f"{M}/labels/nope/metadata", 400, "Unrecognized servable version label: nope"),
    ],
)
def test_metadata_of_an_unknown_version_or_label_is_refused(
    http: httpx.Client, path: str, status: int, message: str
) -> None:
    response = http.get(path)
    assert response.status_code == status
    assert json.loads(response.content) == {"error": message}


def _value(page: str, line: str) -> float:
    return sum(float(each.rsplit(" ", 1)[1]) for each in page.splitlines() if each.startswith(line))


def test_metrics_page_counts_requests(http: httpx.Client) -> None:
    path = "/monitoring/prometheus/metrics"
    served = ':tensorflow:serving:request_count{model_name="default",status="OK"}'
    refused = ':tensorflow:serving:request_count{model_name="default",status="INVALID_ARGUMENT"}'
    latency = (
        ':tensorflow:serving:request_latency_count{model_name="default",API="predict",'
        'entrypoint="REST"}'
    )
    before = http.get(path)
    assert before.status_code == 200
    assert before.headers["content-type"].startswith("text/plain")
    http.post(f"{M}:predict", json={"instances": [1]})
    http.post(f"{M}:predict", json={"instances": ["x"]})
    after = http.get(path).text
    for line, increase in ((served, 1), (refused, 1), (latency, 1)):
        assert _value(after, line) - _value(before.text, line) == increase
    assert "# TYPE :tensorflow:serving:request_count counter\n" in after
    assert "# TYPE :tensorflow:serving:request_latency histogram\n" in after


def test_metrics_page_has_latency_histograms(http: httpx.Client) -> None:
    http.post(f"{M}:predict", json={"instances": [1]})
    page = http.get("/monitoring/prometheus/metrics").text
    start = ':tensorflow:serving:request_latency_bucket{model_name="default",API="predict"'
    buckets = [line for line in page.splitlines() if line.startswith(start)]
    limits = [line.split('le="')[1].split('"')[0] for line in buckets]
    assert len(limits) == 34
    assert limits[-1] == "+Inf"
    assert [float(limit) for limit in limits[:4]] == [10, 18, 32.4, 58.32]
    counts = [float(line.rsplit(" ", 1)[1]) for line in buckets]
    assert counts == sorted(counts)
    assert ':tensorflow:serving:runtime_latency_count{model_name="default",API="Predict"' in page


def test_ready_server_reports_healthy_and_ready(server: Server, http: httpx.Client) -> None:
    if server.stock:
        pytest.skip("the stock server has no such pages")
    assert (http.get("/healthz").status_code, http.get("/readyz").status_code) == (200, 200)
