"""Routes of the REST API, as in TensorFlow Serving's http_rest_api_util.cc.

Paths are matched as they were sent, including percent signs and the query. ``/v1/models`` is
case-insensitive; verbs and ``metadata`` are case-sensitive.
"""

import dataclasses
import re
from urllib.parse import unquote_to_bytes

from serving.protocol.errors import ServingError, invalid_argument
from serving.server.requests.service import ModelSpec
from serving.server.rest.json_service import VERBS

_VERSION = r"(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?"
_PREDICTION = re.compile(rf"/v1/models/([^/:]+){_VERSION}:(classify|regress|predict)", re.I | re.A)
_STATUS = re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION}(?:/(metadata))?", re.I | re.A)
_MAX_VERSION = 2**63 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """An operation on a model.

    Attributes:
        operation: one of ``VERBS``, "metadata" or "status".
        spec: model and version, without a signature.
    """

    operation: str
    spec: ModelSpec


def is_api(path: str) -> bool:
    """Return whether the path belongs to the API; other paths do not exist."""
    return path[:4].lower() == "/v1/" and "\n" not in path


def find(method: str, path: str) -> Route:
    """Return the route of a request.

    Args:
        method: HTTP method.
        path: path with the query, not decoded.

    Raises:
        ServingError: ``INVALID_ARGUMENT``: the route does not exist.
    """
    pattern = {"POST": _PREDICTION, "GET": _STATUS}.get(method)
    match = pattern.fullmatch(path) if pattern else None
    if match is None:
        raise malformed(method, path)
    name, version, label, last = match.groups()
    number = None if version is None else _version(version)
    spec = ModelSpec(_decoded(name or ""), number, None if label is None else _decoded(label))
    if method == "GET":
        if not spec.name:
            raise invalid_argument("Missing model name in request.")
        return Route("metadata" if last == "metadata" else "status", spec)
    if last not in VERBS:
        raise malformed(method, path)
    return Route(last, spec)


def malformed(method: str, path: str) -> ServingError:
    """Return the error for a route that does not exist."""
    return invalid_argument(f"Malformed request: {method} {path}")


def _version(digits: str) -> int:
    number = int(digits[-_MAX_DIGITS:]) if digits.lstrip("0")[:_MAX_DIGITS] else 0
    if len(digits.lstrip("0")) >= _MAX_DIGITS or number > _MAX_VERSION:
        raise invalid_argument(f"Failed to convert version: {digits} to numeric.")
    return number


_MAX_DIGITS = 20


def _decoded(part: str) -> str:
    return unquote_to_bytes(part).decode("utf-8", "replace") if "%" in part else part
