import numpy as np
import pytest

from serving.server.worker import precision
from serving.server.worker.worker_task import WarmupRequest

KEYS = ["serving_default", "serving_default_bfloat16", "other"]
REQUEST = WarmupRequest("serving_default", {"x": np.zeros(1, np.float32)})


@pytest.fixture(autouse=True)
def _short(monkeypatch) -> None:
    monkeypatch.setattr(precision, "MEASURE_SECONDS", 0.0)


class Clock:
    """A clock that advances only while a signature runs."""

    def __init__(self, monkeypatch, seconds):
        self.now = 0.0
        self._seconds = seconds
        monkeypatch.setattr(precision.time, "process_time", lambda: self.now)

    def run(self, key, inputs, outputs):
        self.now += self._seconds[key]
        return {"scores": np.array([[0.2, 0.8]], np.float32), "label": np.array([b"a"], object)}


def choose(run, how="auto", requests=(REQUEST,)):
    return precision.choose(how, KEYS, requests, run).run_as["serving_default"]


@pytest.mark.parametrize(
    ("float32", "bfloat16", "chosen"),
    [
        (2.0, 1.0, "serving_default_bfloat16"),
        (1.0, 2.0, "serving_default"),
        (1.0, 0.99, "serving_default"),
    ],
)
def test_clearly_faster_signature_is_chosen(monkeypatch, float32, bfloat16, chosen) -> None:
    seconds = {"serving_default": float32, "serving_default_bfloat16": bfloat16}
    assert choose(Clock(monkeypatch, seconds).run) == chosen


@pytest.mark.parametrize(
    "twin",
    [
        {"scores": np.array([[0.5, 0.5]], np.float32), "label": np.array([b"a"], object)},
        {"scores": np.array([[0.2, 0.8]], np.float32), "label": np.array([b"b"], object)},
        {"scores": np.array([[0.2, 0.8]], np.float32)},
        {"scores": np.array([0.2, 0.8], np.float32), "label": np.array([b"a"], object)},
    ],
)
def test_twin_with_different_outputs_is_not_chosen(monkeypatch, twin) -> None:
    clock = Clock(monkeypatch, {"serving_default": 2.0, "serving_default_bfloat16": 1.0})

    def run(key, inputs, outputs):
        answer = clock.run(key, inputs, outputs)
        return twin if key.endswith("bfloat16") else answer

    assert choose(run) == "serving_default"


@pytest.mark.parametrize(
    ("scores", "twin_scores", "chosen"),
    [
        ([[0.491, 0.509]], [[0.501, 0.499]], "serving_default_bfloat16"),
        ([[0.4, 0.6]], [[0.41, 0.59]], "serving_default"),
        ([[0.3, 0.345, 0.355]], [[0.3, 0.351, 0.349]], "serving_default_bfloat16"),
    ],
    ids=["near tie", "clear answer", "near tie of the best two"],
)
def test_label_may_differ_only_in_a_near_tie(monkeypatch, scores, twin_scores, chosen) -> None:
    clock = Clock(monkeypatch, {"serving_default": 2.0, "serving_default_bfloat16": 1.0})

    def run(key, inputs, outputs):
        clock.run(key, inputs, outputs)
        is_twin = key.endswith("bfloat16")
        label = np.array([b"b" if is_twin else b"a"], object)
        return {"scores": np.array(twin_scores if is_twin else scores, "f"), "label": label}

    assert choose(run) == chosen


def test_near_tie_does_not_excuse_other_rows(monkeypatch) -> None:
    clock = Clock(monkeypatch, {"serving_default": 2.0, "serving_default_bfloat16": 1.0})

    def run(key, inputs, outputs):
        clock.run(key, inputs, outputs)
        label = np.array([b"a", b"b" if key.endswith("bfloat16") else b"a"], object)
        return {"scores": np.array([[0.5, 0.5], [0.9, 0.1]], np.float32), "label": label}

    assert choose(run) == "serving_default"


def test_one_measured_signature_decides_for_all_called_ones(monkeypatch) -> None:
    keys = ["one", "one_bfloat16", "two", "two_bfloat16", "three", "three_bfloat16"]
    ran = []

    def run(key, inputs, outputs):
        ran.append(key)
        return {"scores": np.zeros((1, 1), np.float32)}

    monkeypatch.setattr(precision, "_faster", lambda key, *_: key == "one")
    requests = [WarmupRequest(key, REQUEST.inputs) for key in ("one", "two")]
    chosen = precision.choose("auto", keys, requests, run)
    assert chosen.run_as == {"one": "one_bfloat16", "three": "three", "two": "two_bfloat16"}
    assert chosen.measured
    assert set(ran) == {"one", "one_bfloat16"}


@pytest.mark.parametrize(
    ("asked", "warmed"),
    [
        (["one", "two", "other"], ["one_bfloat16", "two", "other"]),
        (["one", "one_bfloat16", "two", "two_bfloat16"], ["one_bfloat16", "two"]),
        (["one_bfloat16", "two_bfloat16"], ["one_bfloat16"]),
    ],
)
def test_chosen_signatures_are_warmed_once(asked, warmed) -> None:
    requests = [WarmupRequest(key, REQUEST.inputs) for key in asked]
    run_as = {"one": "one_bfloat16", "two": "two"}
    found = list(precision.requests_to_warm(requests, run_as))
    assert [request.signature for request in found] == warmed
    assert all(request.inputs is REQUEST.inputs for request in found)


def test_only_a_measured_choice_applies_to_other_versions(monkeypatch) -> None:
    clock = Clock(monkeypatch, {"serving_default": 1.0, "serving_default_bfloat16": 2.0})
    assert precision.choose("auto", KEYS, [REQUEST], clock.run).measured

    def run(key, inputs, outputs):
        return {"scores": np.full((1, 2), float(key.endswith("bfloat16")), np.float32)}

    for how, asked, answers in (
        ("auto", [REQUEST], run),
        ("auto", [], run),
        ("float32", [REQUEST], clock.run),
        ("bfloat16", [REQUEST], clock.run),
    ):
        assert not precision.choose(how, KEYS, asked, answers).measured


def test_nothing_is_measured_without_requests() -> None:
    def run(key, inputs, outputs):
        raise AssertionError("ran")

    assert choose(run, requests=()) == "serving_default"


@pytest.mark.parametrize(
    ("how", "chosen"),
    [("float32", "serving_default"), ("bfloat16", "serving_default_bfloat16")],
)
def test_configured_precision_is_not_measured(how, chosen) -> None:
    def run(key, inputs, outputs):
        raise AssertionError("ran")

    assert choose(run, how) == chosen


def test_signatures_without_a_twin_are_unchanged() -> None:
    assert precision.choose("bfloat16", ["a", "b"], [], lambda *_: {}).run_as == {}


def test_only_our_packed_graph_freezes_its_weights() -> None:
    ours = ["serving_default", "serving_default_bfloat16"]
    environ: dict[str, str] = {}
    precision.freeze_weights(["serving_default"], environ)
    assert environ == {}
    precision.freeze_weights(ours, environ)
    assert environ == {precision.VARIABLE: "1"}
    environ[precision.VARIABLE] = "0"
    precision.freeze_weights(ours, environ)
    assert environ == {precision.VARIABLE: "0"}, "an existing value is kept"
