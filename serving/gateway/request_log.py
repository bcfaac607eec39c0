"""One JSON object a line: a request, or a message of the gateway. Texts only where switched on."""

import dataclasses
import datetime
import json
import logging
from typing import Any

_access = logging.getLogger("serving.gateway.request")


@dataclasses.dataclass
class RequestLog:
    """What is told of a request; routes fill it in.

    Attributes:
        request_id: of the request.
        key_id: who asked; "" before that is known.
        texts: how many were answered.
        model_version: that answered.
        role: of that version.
        sample: the texts, where they are to be logged.
        route: the pattern of the path.
    """

    request_id: str
    key_id: str = ""
    texts: int = 0
    model_version: int | None = None
    role: str = ""
    sample: list[str] | None = None
    route: str = ""


def log_request(log: RequestLog, method: str, status: int, seconds: float) -> None:
    """Write the line of a request."""
    fields: dict[str, Any] = {
        "request_id": log.request_id,
        "method": method,
        "route": log.route,
        "status": status,
        "ms": round(seconds * 1000, 2),
    }
    optional = {
        "key": log.key_id,
        "texts": log.texts,
        "model_version": log.model_version,
        "role": log.role,
        "sample": log.sample,
    }
    fields |= {name: value for name, value in optional.items() if value}
    _access.info("request", extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """Log records as JSON, one a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
