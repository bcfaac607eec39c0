import os

import pytest
from google.protobuf import text_format

from modules.contract.errors import UserError
from serving.protocol import protos
from serving.protocol.errors import Code, ServingError
from serving.server.settings import ServerSettings
from serving.server.versions import model_config
from serving.server.versions.version_policy import Latest, Specific

BERT = 'config { name: "bert" base_path: "/models/bert" model_platform: "tensorflow" %s }'


def config(text: str):
    proto = protos.model_server_config_pb2.ModelServerConfig()
    return text_format.Parse(f"model_config_list {{ {text} }}", proto)


def test_policy_and_labels_are_read() -> None:
    text = """
        model_version_policy { specific { versions: 1 versions: 2 } }
        version_labels { key: "stable" value: 1 }
        version_labels { key: "canary" value: 2 }"""
    models = model_config.from_proto(config(BERT % text))
    assert models == {
        "bert": model_config.ModelConfig(
            "bert", "/models/bert", Specific(frozenset({1, 2})), {"stable": 1, "canary": 2}
        )
    }


def test_deprecated_model_type_is_accepted() -> None:
    text = 'config { name: "m" base_path: "/m" model_type: TENSORFLOW }'
    assert model_config.from_proto(config(text))["m"].policy == Latest(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BERT % "" + BERT % "", "Illegal to list model bert multiple times in config list"),
        (
            'config { name: "m" base_path: "models/m" model_platform: "tensorflow" }',
            "Expected model m to have an absolute path or URI; got base_path()=models/m",
        ),
        (
            'config { name: "m" base_path: "/m" }',
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is m",
        ),
        (
            'config { name: "m" base_path: "/m" model_type: TENSORFLOW model_platform: "x" }',
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform, model name is m",
        ),
        (
            'config { name: "m" base_path: "/m" model_platform: "onnx" }',
            "Model m requests unsupported platform onnx",
        ),
    ],
)
def test_invalid_config_is_refused(text, message) -> None:
    with pytest.raises(ServingError) as caught:
        model_config.from_proto(config(text))
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


def test_custom_config_is_refused() -> None:
    proto = protos.model_server_config_pb2.ModelServerConfig()
    proto.custom_model_config.SetInParent()
    with pytest.raises(ServingError, match="custom model config"):
        model_config.from_proto(proto)


def test_flags_configure_one_model(tmp_path) -> None:
    settings = ServerSettings(model_name="bert", model_base_path=str(tmp_path))
    assert model_config.from_settings(settings) == {
        "bert": model_config.ModelConfig("bert", str(tmp_path))
    }


def test_file_takes_precedence_over_the_flags(tmp_path) -> None:
    file = tmp_path / "models.config"
    file.write_text(f"model_config_list {{ {BERT % ''} }}")
    settings = ServerSettings(model_base_path="/other", model_config_file=str(file))
    assert list(model_config.from_settings(settings)) == ["bert"]


@pytest.mark.parametrize("content", [b"model_config_list {", b"models: 1", b"\xff\xfe", None])
def test_file_that_is_not_a_config_is_refused(tmp_path, content) -> None:
    file = tmp_path / "models.config"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"models\.config"):
        model_config.from_settings(ServerSettings(model_config_file=str(file)))


def test_error_names_the_file_with_the_invalid_model(tmp_path) -> None:
    file = tmp_path / "models.config"
    file.write_text(f"model_config_list {{ {BERT % ''} {BERT % ''} }}")
    with pytest.raises(UserError, match=r"models\.config: Illegal to list model bert"):
        model_config.from_settings(ServerSettings(model_config_file=str(file)))


def test_file_larger_than_16_mib_is_refused(tmp_path) -> None:
    file = tmp_path / "models.config"
    file.touch()
    os.truncate(file, 16 * 1024 * 1024 + 1)
    with pytest.raises(UserError, match="larger than 16777216 bytes"):
        model_config.read_file(str(file))


def test_type_other_than_tensorflow_is_refused() -> None:
    with pytest.raises(ServingError, match="model_type choice 2 not supported"):
        model_config.from_proto(config('config { name: "m" base_path: "/m" model_type: OTHER }'))
