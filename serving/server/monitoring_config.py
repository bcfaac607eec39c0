"""``--monitoring_config_file``: a ``MonitoringConfig`` (monitoring_config.proto) in text format.

The published Python package of TensorFlow Serving's APIs does not contain the message, so it is
declared here, with its field numbers.
"""

import dataclasses
from pathlib import Path

from google.protobuf import text_format

from modules.contract.errors import UserError
from serving.server import metrics
from serving.server.message_class import message_class

_FILE = """
name: "bert_monitoring_config.proto" package: "tensorflow.serving" syntax: "proto3"
message_type {
  name: "PrometheusConfig"
  field { name: "enable" number: 1 type: TYPE_BOOL }
  field { name: "path" number: 2 type: TYPE_STRING }
}
message_type {
  name: "MonitoringConfig"
  field { name: "prometheus_config" number: 1 type_name: ".tensorflow.serving.PrometheusConfig" }
}
"""
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


def read(path: str) -> Monitoring:
    """Read a monitoring configuration file.

    Args:
        path: path of the file; "" serves the page at its default path.

    Raises:
        UserError: the file cannot be read, or is not a ``MonitoringConfig``.
    """
    if not path:
        return Monitoring()
    message = message_class(_FILE, "MonitoringConfig")()
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
