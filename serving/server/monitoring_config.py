"""``--monitoring_config_file``: a ``MonitoringConfig`` (monitoring_config.proto) in text format.

The published Python package of TensorFlow Serving's APIs does not contain the message, so it is
declared here, with its field numbers.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from modules.contract.errors import UserError
from serving.server import metrics

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tensorflow.serving"
_EXAMPLE = 'prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }'


@dataclasses.dataclass(frozen=True)
class Monitoring:
    """Settings of the metrics page.

    Attributes:
        enabled: whether the page is served.
        path: path in the page's URL.
    """

    enabled: bool = True
    path: str = metrics.DEFAULT_PATH


@functools.cache
def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="bert_monitoring_config.proto", package=_PACKAGE, syntax="proto3"
    )
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=_FIELD.TYPE_BOOL, label=1)
    prometheus.field.add(name="path", number=2, type=_FIELD.TYPE_STRING, label=1)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config",
        number=1,
        type=_FIELD.TYPE_MESSAGE,
        label=1,
        type_name=f".{_PACKAGE}.PrometheusConfig",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"{_PACKAGE}.MonitoringConfig")
    )


def read(path: str) -> Monitoring:
    """Read a monitoring configuration file.

    Args:
        path: path of the file; "" serves the page at its default path.

    Raises:
        UserError: the file cannot be read, or is not a ``MonitoringConfig``.
    """
    if not path:
        return Monitoring()
    message = _message_class()()
    try:
        text_format.Parse(Path(path).read_text("utf-8"), message)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise UserError(
            f"monitoring_config_file {path} is not a text MonitoringConfig such as "
            f"{_EXAMPLE}: {error}"
        ) from error
    config = message.prometheus_config
    location = config.path or metrics.DEFAULT_PATH
    if not location.startswith("/"):
        raise UserError(
            f"monitoring_config_file {path}: path must begin with a slash, such as "
            f"{metrics.DEFAULT_PATH}, not {location!r}"
        )
    return Monitoring(enabled=config.enable, path=location)
