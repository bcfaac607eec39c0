"""Ops that stock TensorFlow Serving lacks are found without running it."""

from pathlib import Path

import pytest

from components.infra_validation.serving_ops import allowed_ops, foreign_ops, used_ops
from modules.contract.errors import ModelError
from tests.serving import half_plus_two
from tests.serving import saved_model_writer as writer

IMAGE = "tensorflow/serving:2.19.1"


def test_model_of_common_ops_passes(tmp_path: Path) -> None:
    folder = half_plus_two.write(tmp_path / "1")
    assert {"Placeholder", "Const"} <= used_ops(str(folder))
    assert foreign_ops(str(folder), IMAGE) == []


def test_op_that_the_image_lacks_is_named(tmp_path: Path) -> None:
    graph = writer.Graph()
    x = graph.placeholder("x", writer.STRING)
    graph.op("EagerPyFunc", "call", [x])
    (tmp_path / "saved_model.pb").write_bytes(graph.saved_model.SerializeToString())
    assert foreign_ops(str(tmp_path), IMAGE) == ["EagerPyFunc"]


@pytest.mark.parametrize(
    "image", ["tensorflow/serving:1.15.0", "tensorflow/serving@sha256:00", "nobody"]
)
def test_image_of_unknown_version_is_refused(image: str) -> None:
    with pytest.raises(ModelError, match=r"a tag of version 2\.16, 2\.19"):
        allowed_ops(image)


def test_file_that_is_not_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read as a SavedModel"):
        used_ops(str(tmp_path))
    (tmp_path / "saved_model.pb").write_bytes(b"garbage")
    with pytest.raises(ModelError, match="cannot be read as a SavedModel"):
        used_ops(str(tmp_path))


@pytest.mark.parametrize("version", ["2.16", "2.19"])
def test_lists_have_common_ops_but_no_python_ops(version: str) -> None:
    ops = allowed_ops(f"tensorflow/serving:{version}.1")
    assert {"MatMul", "VarHandleOp", "RestoreV2", "FastWordpieceTokenizeWithOffsets"} <= ops
    assert not {"PyFunc", "EagerPyFunc"} & ops
