import json
import logging

from serving.gateway.request_log import JsonFormatter, RequestLog, log_request


def test_request_is_one_line_of_json(caplog) -> None:
    caplog.set_level(logging.INFO)
    log_request(RequestLog("r1", route="/v1/predict", model_version=7), "POST", 200, 0.0015)
    [record] = caplog.records
    line = json.loads(JsonFormatter().format(record))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "r1",
        "method": "POST",
        "route": "/v1/predict",
        "status": 200,
        "ms": 1.5,
        "model_version": 7,
    }


def test_traceback_stays_on_the_line(caplog) -> None:
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        logging.getLogger("test").exception("request failed")
    line = JsonFormatter().format(caplog.records[0])
    assert "\n" not in line
    assert "RuntimeError: a bug" in json.loads(line)["traceback"]
