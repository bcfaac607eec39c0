import json

import numpy as np
import pytest

from serving.protocol import protos
from serving.protocol.errors import Code, ServingError
from serving.server.rest import json_writer
from tests.serving.fake_models import FLOAT

NOTHING = np.zeros(0, np.float32)


@pytest.mark.parametrize(
    "write",
    [
        lambda: json_writer.predictions({}),
        lambda: json_writer.columns({}),
        lambda: json_writer.classifications([]),
        lambda: json_writer.regressions(NOTHING),
        lambda: json_writer.predictions({"y": (np.float32(1.0).reshape(()), FLOAT)}),
        lambda: json_writer.predictions({"a": (NOTHING, FLOAT), "b": (np.ones(1), FLOAT)}),
    ],
    ids=["no rows", "no columns", "no classes", "no values", "a scalar", "other batches"],
)
def test_answer_that_json_has_no_form_for_is_refused(write) -> None:
    with pytest.raises(ServingError) as caught:
        write()
    assert caught.value.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize("data_type", [protos.types_pb2.DT_COMPLEX64, 999])
def test_type_without_json_form_is_refused(data_type: int) -> None:
    with pytest.raises(ServingError, match="Failed to write JSON value"):
        json_writer.columns({"y": (np.zeros(1), data_type)})


def test_empty_batch_is_an_empty_list() -> None:
    outputs = {"y": (NOTHING, FLOAT)}
    assert json.loads(json_writer.predictions(outputs)) == {"predictions": []}
    assert json.loads(json_writer.columns(outputs)) == {"outputs": []}


def test_scalar_is_a_column_of_its_own() -> None:
    outputs = {"x": (np.array(True), 10), "y": (np.ones((2, 1, 2), np.float32), FLOAT)}
    assert json.loads(json_writer.columns(outputs)) == {
        "outputs": {"x": True, "y": [[[1.0, 1.0]], [[1.0, 1.0]]]}
    }


def test_rows_of_matrices_stay_matrices() -> None:
    matrices = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    answer = json.loads(json_writer.predictions({"y": (matrices, FLOAT)}))
    assert answer == {"predictions": matrices.tolist()}
