import os

import pytest

from modules.contract.errors import UserError
from serving.server.settings import ServerSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "nothing to serve"),
        ({"model_base_path": "/m", "precision": "int8"}, "auto, float32, bfloat16, not 'int8'"),
        ({"model_base_path": "/m", "port": 65_536}, "port must be 0 to 65535, not 65536"),
        ({"model_base_path": "/m", "max_batch_size": 0}, "max_batch_size must be at least 1"),
        ({"model_base_path": "/m", "drain_seconds": -1}, "drain_seconds must not be negative"),
        (
            {"model_base_path": "/m", "enable_batching": False, "batching_parameters_file": "f"},
            "enable_batching is false",
        ),
    ],
)
def test_invalid_setting_is_refused(values, message) -> None:
    with pytest.raises(UserError, match=message):
        ServerSettings(**values)


def test_defaults_are_those_of_tensorflow_serving() -> None:
    settings = ServerSettings(model_base_path="/models/bert")
    assert (settings.port, settings.rest_api_port, settings.model_name) == (8500, 8501, "default")
    assert settings.host == "127.0.0.1"
    assert settings.request_timeout_seconds == 30


def test_relative_base_path_is_made_absolute() -> None:
    assert ServerSettings(model_base_path="m").model_base_path == os.path.abspath("m")
