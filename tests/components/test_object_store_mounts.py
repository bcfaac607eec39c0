import pytest

from components.object_store_mounts import ROOT_VARIABLE, is_object_store, to_path, to_uri

PAIRS = [
    ("gs://bucket/a/b", "/gcs/bucket/a/b"),
    ("s3://bucket/a", "/s3/bucket/a"),
    ("minio://bucket/a", "/minio/bucket/a"),
]


@pytest.mark.parametrize(("uri", "path"), PAIRS)
def test_uri_and_path_convert_both_ways(uri: str, path: str) -> None:
    assert to_path(uri) == path
    assert to_uri(path) == uri


@pytest.mark.parametrize("text", ["", "/models/bert", "hdfs://a/b", "see gs://bucket", "/gcsx/a"])
def test_other_text_is_unchanged(text: str) -> None:
    assert to_path(text) == text
    assert to_uri(text) == text


def test_mount_root_can_be_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, "/pod/")
    assert to_path("gs://bucket/a") == "/pod/gcs/bucket/a"
    assert to_uri("/pod/gcs/bucket/a") == "gs://bucket/a"
    assert to_uri("/gcs/bucket/a") == "/gcs/bucket/a"


@pytest.mark.parametrize(
    ("directory", "expected"),
    [("gs://bucket/models", True), ("/gcs/bucket/models", True), ("/models/bert", False)],
)
def test_uris_and_mounts_are_object_stores(directory: str, expected: bool) -> None:
    assert is_object_store(directory) == expected
