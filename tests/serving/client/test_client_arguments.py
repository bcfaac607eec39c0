"""Argument validation of the client, and its parts without I/O."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.contract.errors import UserError
from serving.client import Client, read_labels, rest_json
from serving.client.address import parse_address
from serving.client.answers import make_predictions
from serving.client.errors import UnexpectedAnswerError
from serving.client.rest_transport import _retry_after
from serving.client.signature_metadata import SignatureMetadata, TensorMetadata
from serving.client.splitting import split_texts


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1", "http://127.0.0.1:8501"),
        ("grpc://localhost", "grpc://localhost:8500"),
        ("https://models.example/team/", "https://models.example:443/team"),
        ("grpcs://[::1]:99", "grpcs://[::1]:99"),
    ],
)
def test_address_gets_the_default_port(url: str, expected: str) -> None:
    assert str(parse_address(url)) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:8501", "not a server URL"),
        ("ftp://host", "not a server URL"),
        ("http://host:99999", "not a server URL"),
        ("http://", "not a server URL"),
        ("http://user:password@host", "authorization"),
        ("http://host/v1/models/default", "leave out /v1"),
        ("grpc://host/path", "must name only a server"),
        ("http://host?x=1", "must name only a server"),
    ],
)
def test_invalid_address_is_refused(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_address(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 3, "label": "stable"}, "a version or a label, not both"),
        ({"version": -1}, "must not be negative"),
        ({"model": ""}, "model must not be empty"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"labels": "nowhere"}, r"assets\.extra/labels\.txt"),
    ],
)
def test_invalid_argument_is_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Client("http://127.0.0.1", **options)


@pytest.mark.parametrize(
    ("texts", "message"),
    [("one", "a list"), ([b"x"], "not bytes"), (["a\ud800"], "position 1")],
)
def test_invalid_text_is_refused_before_it_is_sent(texts: list[str], message: str) -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(UserError, match=message):
        client.predict(texts)


def test_labels_are_read_from_the_newest_or_the_given_version(tmp_path: Path) -> None:
    for version, labels in {"9": "a\nb\n", "10": "c\nd\n"}.items():
        extra = tmp_path / version / "assets.extra"
        extra.mkdir(parents=True)
        (extra.parent / "saved_model.pb").touch()
        (extra / "labels.txt").write_text(labels)
    assert read_labels(tmp_path) == ["c", "d"]
    assert read_labels(tmp_path / "9") == ["a", "b"]
    (tmp_path / "10" / "saved_model.pb").unlink()  # as while it is being copied
    assert read_labels(tmp_path) == ["a", "b"]


@given(
    st.lists(st.binary(max_size=30), max_size=60),
    st.integers(1, 9),
    st.integers(1, 60),
)
def test_every_text_is_sent_once_in_requests_of_bounded_size(
    texts: list[bytes], max_texts: int, max_bytes: int
) -> None:
    parts = list(split_texts(texts, max_texts=max_texts, max_bytes=max_bytes))
    assert sorted(p for part in parts for p in part.positions) == list(range(len(texts)))
    for part in parts:
        assert part.texts == tuple(texts[position] for position in part.positions)
        assert 1 <= len(part.texts) <= max_texts
        assert len(part.texts) == 1 or sum(map(len, part.texts)) <= max_bytes


def test_wrong_number_of_predictions_is_refused() -> None:
    outputs = {"label": ["a"], "score": [1.0], "scores": [[1.0]]}
    with pytest.raises(UnexpectedAnswerError, match="1 predictions for 2 texts"):
        list(make_predictions(outputs, 2, (), "http://h"))


def test_tied_scores_are_named() -> None:
    outputs = {"label": ["b"], "score": [0.5], "scores": [[0.5, 0.5]]}
    [prediction] = make_predictions(outputs, 1, ("a", "b"), "http://h")
    assert prediction.scores == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("", None), ("soon", None)],
)
def test_retry_after_header_may_hold_seconds(value: str, seconds: float | None) -> None:
    assert _retry_after(value) == seconds


def test_retry_after_header_may_hold_a_date() -> None:
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert (_retry_after("Wed, 21 Oct 2115 07:28:00 GMT") or 0) > 1e9


def test_rest_carries_nan_infinity_and_any_bytes() -> None:
    body = rest_json.write_tensors(
        {"x": np.array([1.5, np.nan, np.inf]), "s": np.array([b"\xff"], object)}, "sig"
    )
    assert b"NaN" in body
    assert b"Infinity" in body
    assert json.loads(body)["inputs"]["s"] == [{"b64": "/w=="}]
    signature = SignatureMetadata({}, {"y_bytes": TensorMetadata("DT_STRING", (None,))}, "")
    [[value]] = rest_json.read_tensors(
        b'{"outputs": [{"b64": "/w=="}]}', signature, (), "http://h"
    ).values()
    assert value == b"\xff"


@pytest.mark.parametrize(
    "body", [b"<html>", b"[1]", b'{"predictions": []}', b"\xff", b"[" * 100_000, b""]
)
def test_response_of_another_program_is_refused(body: bytes) -> None:
    for read in (rest_json.read_columns, rest_json.read_metadata, rest_json.read_status):
        with pytest.raises(UnexpectedAnswerError, match="http://h"):
            read(body, "http://h")
