"""The log as JSON lines: requests, and messages of the gateway. Texts only if switched on."""

import dataclasses
import datetime
import json
import logging
from typing import Any

_access = logging.getLogger("serving.gateway.request")


@dataclasses.dataclass
class RequestLog:
    """The log entry of a request, filled in by the routes.

    Attributes:
        request_id: id of the request.
        key_id: the caller; "" until authenticated.
        texts: number of classified texts.
        model_version: the version that answered.
        role: role of that version.
        sample: the texts, if texts are logged.
        route: the path's pattern.
    """

    request_id: str
    key_id: str = ""
    texts: int = 0
    model_version: int | None = None
    role: str = ""
    sample: list[str] | None = None
    route: str = ""


def log_request(log: RequestLog, method: str, status: int, seconds: float) -> None:
    """Log a request."""
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
        """Return the record as one line."""
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
