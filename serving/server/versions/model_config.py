"""Configuration of the served models: a ``ModelServerConfig`` from a file or call, or the settings.

Checks and messages are those of TensorFlow Serving (model_servers/server_core.cc).
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from modules.contract.errors import UserError
from serving.protocol import protos
from serving.protocol.errors import Code, ServingError, invalid_argument
from serving.server.settings import ServerSettings
from serving.server.versions import version_policy

PLATFORM = "tensorflow"
_LARGEST_FILE = 16 * 1024 * 1024
_M = TypeVar("_M", bound=Message)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Configuration of a model.

    Attributes:
        name: unique name.
        base_path: absolute path of the folder that contains the version folders.
        policy: policy that chooses the served versions.
        labels: version by label.
    """

    name: str
    base_path: str
    policy: version_policy.VersionPolicy = dataclasses.field(default_factory=version_policy.Latest)
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)


def from_settings(settings: ServerSettings) -> dict[str, ModelConfig]:
    """Return the models to serve at start, by name.

    Raises:
        UserError: the config file cannot be read, or is invalid.
    """
    if not settings.model_config_file:
        model = ModelConfig(settings.model_name, settings.model_base_path)
        return {model.name: model}
    try:
        return from_proto(read_file(settings.model_config_file))
    except ServingError as error:
        raise UserError(f"{settings.model_config_file}: {error.message}") from error


def read_file(path: str) -> Any:
    """Read a ``ModelServerConfig`` in protocol buffer text format.

    Raises:
        UserError: the file cannot be read, or is not such a message.
    """
    return read_text_proto(path, protos.model_server_config_pb2.ModelServerConfig())


def read_text_proto(path: str, message: _M) -> _M:
    """Fill a message from a file in text format.

    Args:
        path: path of the file.
        message: empty message to fill.

    Returns:
        ``message``.

    Raises:
        UserError: the file cannot be read, is too large, or is not such a message.
    """
    try:
        if os.path.getsize(path) > _LARGEST_FILE:
            raise UserError(f"{path}: the file is larger than {_LARGEST_FILE} bytes")
        with open(path, encoding="utf-8") as file:
            return text_format.Parse(file.read(), message)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        kind = message.DESCRIPTOR.name
        raise UserError(f"{path} is not a {kind} in text format: {error}") from error


def from_proto(config: Any) -> dict[str, ModelConfig]:
    """Return the models of a ``ModelServerConfig``, by name.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: the configuration is invalid.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise invalid_argument("This server does not support custom model config.")
    models: dict[str, ModelConfig] = {}
    for model in config.model_config_list.config:
        if model.name in models:
            raise invalid_argument(
                f"Illegal to list model {model.name} multiple times in config list"
            )
        models[model.name] = _model(model)
    return models


def check_base_paths(
    models: Mapping[str, ModelConfig], configured: Mapping[str, ModelConfig]
) -> None:
    """Refuse base paths outside the folders that the operator has configured.

    Args:
        models: models that a caller asks for, by name.
        configured: models of the operator's configuration, by name.

    Raises:
        ServingError: ``PERMISSION_DENIED``: a base path is outside; symbolic links are followed.
    """
    allowed = [os.path.realpath(model.base_path) for model in configured.values()]
    for model in models.values():
        path = os.path.realpath(model.base_path)
        if not any(os.path.commonpath([path, folder]) == folder for folder in allowed):
            raise ServingError(
                Code.PERMISSION_DENIED,
                f"The base path of model {model.name} must be one that the server was started "
                "with, or be below one; add its folder to the model config file",
            )


def _model(model: Any) -> ModelConfig:
    if not os.path.isabs(model.base_path):
        raise invalid_argument(
            f"Expected model {model.name} to have an absolute path or URI; "
            f"got base_path()={model.base_path}"
        )
    _check_platform(model)
    return ModelConfig(
        name=model.name,
        base_path=model.base_path,
        policy=version_policy.from_proto(model.model_version_policy),
        labels=dict(model.version_labels),
    )


def _check_platform(model: Any) -> None:
    if model.model_type:  # deprecated; 1 is TENSORFLOW
        if model.model_platform:
            raise invalid_argument(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform, model name is {model.name}"
            )
        if model.model_type != 1:
            raise invalid_argument(
                f"ModelServerConfig::model_type choice {model.model_type} not supported."
            )
    elif not model.model_platform:
        raise invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {model.name}"
        )
    elif model.model_platform != PLATFORM:
        raise invalid_argument(
            f"Model {model.name} requests unsupported platform {model.model_platform}"
        )
